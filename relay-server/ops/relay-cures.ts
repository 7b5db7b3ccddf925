/**
 * Cures at the relay: what its operator can do about a refusal, one short sentence per code. Codes without one are the
 * business of whoever was refused, or pass by themselves.
 */
import type { ErrorCode } from '../../shared/errors.js';

const ASK_CLIENT = 'Look at the client: `tunnel status` and `tunnel doctor` say what is wrong there.';

const cures: Partial<Record<ErrorCode, string>> = {
  TOKEN_REJECTED: 'If it was yours: make a new token with `relay token rotate NAME`.',
  NOT_GRANTED: 'If it should be allowed: give the token the grant, see `relay token create --help`.',
  VERSION_UNSUPPORTED: 'Update the older of the two: this relay or the client.',
  LIMIT_EXCEEDED: 'If these are your own visitors: raise the limit in relay.yaml, section limits.',
  ROUTE_NOT_FOUND: 'Strangers ask for anything. If the name is yours: start its client.',
  TUNNEL_OFFLINE: ASK_CLIENT,
  HANDSHAKE_TIMEOUT: ASK_CLIENT,
  HEARTBEAT_LOST: ASK_CLIENT,
  LINK_LOST: ASK_CLIENT,
  CERTIFICATE_FAILED: '`relay cert list` says why, and when the next attempt is.',
  ORIGIN_REFUSED: ASK_CLIENT,
  ORIGIN_TIMEOUT: ASK_CLIENT,
  ORIGIN_TLS_FAILED: ASK_CLIENT,
  ORIGIN_CLOSED: ASK_CLIENT,
  ORIGIN_INVALID: ASK_CLIENT,
};

/** What to do about refusals with this code; undefined when there is nothing to do. */
export function relayCureOf(code: ErrorCode): string | undefined {
  return cures[code];
}
