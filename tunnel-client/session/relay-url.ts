/**
 * Relay URL: decides which texts say where the relay is. Pure; owns nothing. Used by: tunnel-config.ts, `tunnel join`.
 */
import { networkMatcher } from '../../shared/address.js';
import { TunnelError } from '../../shared/errors.js';
import { quoted } from '../../shared/printable.js';

/** No white space, control characters or backslashes: `new URL` would drop or turn them. */
const PLAIN_URL = /^https?:\/\/[^\s\p{Cc}\\]+$/iu;
const isLoopbackAddress = networkMatcher(['127.0.0.0/8', '::1']);

/**
 * The relay's URL: https, or http when the relay is on this machine.
 * @param name What the text is, for the message: a config key or a flag.
 * @throws {TunnelError} CONFIG_INVALID
 */
export function parseRelayUrl(text: string, name = 'relay URL'): URL {
  if (text.includes('@')) throw new TunnelError('CONFIG_INVALID', `${name} must be without user name and password`);
  const url = PLAIN_URL.test(text) && URL.canParse(text) ? new URL(text) : undefined;
  if (!url) throw refusal(name, 'a URL such as https://example.com', text);
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw refusal(name, 'without a path', text, `. Write ${url.origin}`);
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw refusal(name, 'an https URL; http is for a relay on this machine alone', text);
  }
  return url;
}

function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '');
  return host === 'localhost' || host.endsWith('.localhost') || isLoopbackAddress(host);
}

function refusal(name: string, expected: string, text: string, cure = ''): TunnelError {
  return new TunnelError('CONFIG_INVALID', `${name} must be ${expected}, got ${quoted(text)}${cure}`);
}
