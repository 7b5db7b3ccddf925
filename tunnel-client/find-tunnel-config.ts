/**
 * Decides where a client's config file lies when no `--config` says it: `sallyport/tunnel.yaml` in the user's config
 * folder (XDG Base Directory Specification), which is ~/.config. Owns nothing.
 */
import { homedir } from 'node:os';
import * as path from 'node:path';
import type { Environment } from '../shared/config/config-secret.js';

/** The user's own config file, whether it exists or not. */
export function userTunnelConfig(env: Environment = process.env): string {
  const configured = env.XDG_CONFIG_HOME ?? '';
  const base = path.isAbsolute(configured) ? configured : path.join(homedir(), '.config');
  return path.join(base, 'sallyport', 'tunnel.yaml');
}
