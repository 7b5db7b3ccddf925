/**
 * OwnConfig: how the relay itself reads relay.yaml. It differs from the verbs in who it is: whoever asked it to reload may be
 * root, who can read the file, and would not know what "permission denied" means. Owns nothing.
 */
import { dirname } from 'node:path';
import { asTunnelError, TunnelError } from '../shared/errors.js';
import { isCode } from '../shared/files/atomic-file.js';
import { ownUser } from './ops/own-user.js';
import { type RelayConfig, readRelayConfig } from './relay-config.js';

/** @throws {TunnelError} CONFIG_INVALID as `readRelayConfig`, with the relay's user when that may not read the file. */
export function readOwnConfig(file: string): RelayConfig {
  try {
    return readRelayConfig(file);
  } catch (error) {
    const { code, message, cause } = asTunnelError(error);
    if (!isCode(cause, 'EACCES')) throw error;
    const state = `${message} to the relay, which runs as ${ownUser()}`;
    throw new TunnelError(code, `${state}. Do: chown --reference=${dirname(file)} ${file}`, { cause });
  }
}
