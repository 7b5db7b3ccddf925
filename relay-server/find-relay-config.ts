/**
 * Decides which config file a verb of `relay` means when no `--config` says it: `relay.yaml` in the current folder, else
 * that of the service, else that of the system. Owns nothing.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { TunnelError } from '../shared/errors.js';
import { isCode } from '../shared/files/atomic-file.js';

const HERE = 'relay.yaml';
/** Where the service has it (systemd/), then where an operator may have put it. */
const SYSTEM = ['/var/lib/sallyport/relay.yaml', '/etc/sallyport/relay.yaml'];

/** For `--help` of every verb. */
export const CONFIG_HELP = `${HERE}; when left out the one here, else ${SYSTEM.join(', else ')}`;

/** Also where only root may look: what reads it will say that. */
function isThere(file: string): boolean {
  try {
    return fs.statSync(file, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    return isCode(error, 'EACCES');
  }
}

/** What a command line needs so that its verb takes this file: nothing where it finds it by itself. */
export function configFlag(file: string, shown: string): string {
  const isFound = [HERE, ...SYSTEM].find(isThere);
  return isFound !== undefined && path.resolve(isFound) === file ? '' : ` --config ${shown}`;
}

/**
 * The path of the config file.
 * @param given the value of `--config`, which is taken as it is.
 * @throws {TunnelError} CONFIG_INVALID when there is none.
 */
export function findRelayConfig(given: string | undefined): string {
  if (given !== undefined) return given;
  const found = [HERE, ...SYSTEM].find((candidate) => isThere(candidate));
  if (found !== undefined) return found;
  const cure = 'Make one: relay init --domain example.com, or name it: --config FILE';
  throw new TunnelError('CONFIG_INVALID', `Cannot find ${HERE} here nor ${SYSTEM.join(' nor ')}. ${cure}`);
}
