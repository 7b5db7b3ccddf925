/**
 * Cures: what the person at the client can do about a failure, one short sentence per code.
 *
 * The message of a failure says what happened this once, and often ends with the cure that fits exactly; then there is no
 * other. These are for messages without. Codes without a cure here pass by themselves, or are met elsewhere.
 */
import type { ErrorCode } from '../shared/errors.js';

const CHECK_NETWORK = 'Check the internet connection of this machine and that the relay is running.';

const cures: Partial<Record<ErrorCode, string>> = {
  CONFIG_INVALID: 'Correct the configuration; `tunnel check` says where.',
  TOKEN_REJECTED: 'Ask for a new token: `relay token rotate NAME` on the VPS, then `tunnel join` here.',
  NOT_GRANTED: 'Ask for the grant: `relay token create NAME --host …` on the VPS.',
  VERSION_UNSUPPORTED: 'Install the version of the relay on this machine, or update the relay.',
  SESSION_REPLACED: 'The same client was started again elsewhere; end one of the two.',
  HOSTNAME_TAKEN: 'Choose another hostname, or stop the client that holds this one.',
  PORT_TAKEN: 'Choose another port, or stop the client that holds this one.',
  HANDSHAKE_TIMEOUT: CHECK_NETWORK,
  HEARTBEAT_LOST: CHECK_NETWORK,
  LINK_LOST: CHECK_NETWORK,
  LIMIT_EXCEEDED: 'Raise the limit in relay.yaml on the VPS, or use fewer connections.',
  ORIGIN_REFUSED: 'Start the app, or correct the origin of this tunnel.',
  ORIGIN_TIMEOUT: 'Check that the app is not overloaded and that no firewall drops the connection.',
  ORIGIN_TLS_FAILED: 'Renew the certificate of the app, or write the origin with `https+insecure://`.',
  ORIGIN_CLOSED: 'Look at the log of the app; an app that speaks TLS needs an `https://` origin.',
  ORIGIN_INVALID: 'Check that the origin is a web app; an app that speaks TLS needs an `https://` origin.',
};

/** A message is "Cannot X: state is Y. Do Z.": what follows its first sentence is the cure. */
const SENTENCES = /^(.*?[.?]) (\S.*)$/s;

/** What to do about a failure; undefined when its message says that already, or there is nothing to do but wait. */
export function cureOf(code: ErrorCode, message: string): string | undefined {
  return SENTENCES.test(message) ? undefined : cures[code];
}

/** The two halves of a failure: what was seen, and its one cure; undefined when there is none. */
export function stateAndCure(code: ErrorCode, message: string): { state: string; cure: string | undefined } {
  const [, state, cure] = SENTENCES.exec(message) ?? [];
  return state === undefined ? { state: message, cure: cures[code] } : { state, cure };
}
