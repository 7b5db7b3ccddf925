/**
 * Decides which config file a verb of `relay` means when no `--config` says it: `relay.yaml` in the current folder, else
 * the one of the system. Owns nothing.
 */
import * as fs from 'node:fs';
import { TunnelError } from '../shared/errors.js';

const HERE = 'relay.yaml';
const SYSTEM = '/etc/sallyport/relay.yaml';

/**
 * The path of the config file.
 * @param path the value of `--config`, which is taken as it is.
 * @throws {TunnelError} CONFIG_INVALID when there is none.
 */
export function findRelayConfig(path: string | undefined): string {
  if (path !== undefined) return path;
  const found = [HERE, SYSTEM].find((candidate) => fs.existsSync(candidate));
  if (found !== undefined) return found;
  const cure = 'Make one: relay init --domain example.com, or name it: --config FILE';
  throw new TunnelError('CONFIG_INVALID', `Cannot find ${HERE} here nor ${SYSTEM}. ${cure}`);
}
