/**
 * LocalChecks: what `tunnel doctor` looks at on this machine alone: the configuration, and who else may change it.
 */
import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { counted } from '../../shared/command/terminal-text.js';
import { type Finding, fail, pass, skip } from '../../shared/doctor/check.js';
import { asTunnelError } from '../../shared/errors.js';
import { parseToken } from '../../shared/token.js';
import { isPrivateFolder, statusFolder } from '../ops/status-folder.js';
import { readTunnelConfig } from '../tunnel-config.js';
import type { Patient } from './patient.js';

/** Others may write into the folder: they could put another configuration there. */
const OTHERS_WRITE = 0o022;

export function checkConfig(patient: Patient): Finding {
  try {
    const config = readTunnelConfig(patient.configFile);
    parseToken(config.token);
    patient.config = config;
    const found = `${patient.configFile}: relay ${config.relayUrl.host}, ${counted(config.tunnels.length, 'tunnel')}`;
    if (config.tunnels.length > 0) return pass(found);
    return pass(
      found,
      'List what to expose under "tunnels:", or name it each time: tunnel up 3000 --host app.example.com',
    );
  } catch (error) {
    const { code, message } = asTunnelError(error);
    const cure = !existsSync(patient.configFile) ? "Do: tunnel join 'JOIN-LINE'" : 'Correct these lines of the file.';
    return fail(code, message, code === 'TOKEN_REJECTED' ? 'Join again with a whole token.' : cure);
  }
}

/** Files with secrets are refused on reading when others may read them; here it is the folders that count. */
export async function checkPermissions(patient: Patient): Promise<Finding> {
  if (process.platform === 'win32') return skip('Windows has no permission bits');
  if (patient.config === undefined) return skip('needs a configuration, see above');
  const folder = dirname(patient.configFile);
  if ((statSync(folder).mode & OTHERS_WRITE) !== 0 && (statSync(folder).mode & 0o1000) === 0) {
    return fail('CONFIG_INVALID', `other users may write into ${folder}`, `Do: chmod go-w ${folder}`);
  }
  const sockets = patient.statusFolder ?? statusFolder();
  if (await isPrivateFolder(sockets)) return pass('the configuration and the status sockets are private');
  if (statSync(sockets, { throwIfNoEntry: false }) === undefined) return pass('the configuration is private');
  const cure = `Remove ${sockets}, or set XDG_RUNTIME_DIR.`;
  return fail('CONFIG_INVALID', `${sockets} is not private: tunnel status cannot be trusted`, cure);
}
