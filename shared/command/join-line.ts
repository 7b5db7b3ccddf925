/**
 * Join line: decides how a relay tells a new client everything it needs, in one line that a person copies.
 *
 *     https://example.com[:8443]/#token=<token>[&ca=<certificate>][&address=<host:port>]
 *
 * `token` is the client's token (token.ts), `ca` the relay's local CA as base64url DER, `address` where to dial when DNS
 * does not lead to the relay. All of it stands in the fragment, which no browser sends to a server. White space is
 * ignored, because terminals wrap long lines. The line holds a secret, so no message repeats any part of it.
 * Pure; owns nothing.
 */
import { X509Certificate } from 'node:crypto';
import { formatAddress, parseDialAddress } from '../address.js';
import { TunnelError } from '../errors.js';
import { hostnameOf } from '../hostname.js';
import { Secret } from '../secret.js';
import { parseToken } from '../token.js';

const MAX_LENGTH = 16 * 1024;
const KEYS = ['token', 'ca', 'address'];

export interface JoinLine {
  /** `https://example.com` or `https://example.com:8443`. */
  readonly relayUrl: string;
  readonly token: Secret;
  /** DER of the CA that the link trusts instead of the public ones. */
  readonly ca: Buffer | undefined;
  /** `203.0.113.7:443`: dial here, keep the name of the URL for TLS. */
  readonly address: string | undefined;
}

/** The line for these facts; it holds the token, so it goes to the one who asked for it and nowhere else. */
export function formatJoinLine(facts: JoinLine): Secret {
  const fields = [`token=${facts.token.reveal()}`];
  if (facts.ca) fields.push(`ca=${facts.ca.toString('base64url')}`);
  if (facts.address !== undefined) fields.push(`address=${facts.address}`);
  return new Secret(`${facts.relayUrl}/#${fields.join('&')}`);
}

/**
 * Reads a join line.
 * @throws {TunnelError} USAGE_INVALID, or TOKEN_REJECTED when the token in it is damaged; both with the cure.
 */
export function parseJoinLine(line: Secret | string): JoinLine {
  const text = (typeof line === 'string' ? line : line.reveal()).replaceAll(/\s+/g, '');
  if (text === '') throw unreadable('it is empty');
  if (text.length > MAX_LENGTH) throw unreadable(`it is longer than ${MAX_LENGTH} characters`);
  const hash = text.indexOf('#');
  if (hash < 0) throw unreadable('the part after # is missing. In a shell, put the line in single quotes');
  const fields = readFields(text.slice(hash + 1));
  const token = fields.get('token');
  if (token === undefined) throw unreadable('it has no token');
  parseToken(token);
  return {
    relayUrl: readRelayUrl(text.slice(0, hash)),
    token: new Secret(token),
    ca: readCa(fields.get('ca')),
    address: readAddress(fields.get('address')),
  };
}

function readRelayUrl(text: string): string {
  if (!text.startsWith('https://')) throw unreadable('it does not start with https://');
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const hostname = url && hostnameOf(url.hostname);
  if (!url || hostname === undefined) throw unreadable('it names no relay between https:// and #');
  const hasMore = url.username !== '' || url.password !== '' || url.pathname !== '/' || url.search !== '';
  if (hasMore) throw unreadable('there is more than a hostname and a port between https:// and #');
  return url.port === '' ? `https://${hostname}` : `https://${hostname}:${url.port}`;
}

function readFields(fragment: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const field of fragment.split('&')) {
    const equals = field.indexOf('=');
    const key = field.slice(0, equals);
    if (equals < 0 || !KEYS.includes(key)) throw unreadable('a part of it is not known to this version');
    if (fields.has(key)) throw unreadable(`it has two parts called ${key}`);
    fields.set(key, field.slice(equals + 1));
  }
  return fields;
}

function readCa(text: string | undefined): Buffer | undefined {
  if (text === undefined) return undefined;
  const der = Buffer.from(text, 'base64url');
  if (der.toString('base64url') !== text || !isCa(der)) throw unreadable('its ca is damaged or cut off');
  return der;
}

function isCa(der: Buffer): boolean {
  try {
    const certificate = new X509Certificate(der);
    return certificate.ca && certificate.raw.equals(der);
  } catch {
    return false;
  }
}

function readAddress(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  try {
    return formatAddress(parseDialAddress(text));
  } catch {
    throw unreadable('its address is not host:port');
  }
}

function unreadable(state: string): TunnelError {
  const cure = 'Copy the whole line that the relay printed, from https:// to its end';
  return new TunnelError('USAGE_INVALID', `Cannot read join line: ${state}. ${cure}.`);
}
