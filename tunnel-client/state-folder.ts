/**
 * State folder: decides where a client keeps what it made itself, certificates and their keys, when `state_dir` says nothing.
 *
 * systemd names one (STATE_DIRECTORY). Otherwise it is the folder of the config file, so that whoever keeps that folder, in
 * a container for instance, keeps the certificates too; only beside the user's own config file state does not belong (XDG
 * Base Directory Specification). Owns nothing. Used by: tunnel-config.ts.
 */
import { homedir } from 'node:os';
import * as path from 'node:path';
import type { Environment } from '../shared/config/config-secret.js';
import { userTunnelConfig } from './find-tunnel-config.js';

/** An absolute folder; without a config file the user's own. */
export function defaultStateDir(configFile: string | undefined, env: Environment): string {
  const [service = ''] = (env.STATE_DIRECTORY ?? '').split(':');
  if (path.isAbsolute(service)) return service;
  const file = configFile === undefined ? undefined : path.resolve(configFile);
  if (file !== undefined && file !== userTunnelConfig(env)) return path.dirname(file);
  const state = env.XDG_STATE_HOME ?? '';
  return path.join(path.isAbsolute(state) ? state : path.join(homedir(), '.local', 'state'), 'sallyport');
}
