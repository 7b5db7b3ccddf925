/**
 * Hostnames: decides the one form in which we store, compare and look up a public name, and which names nobody gets.
 *
 * The form is lower-case A-labels without a trailing dot (RFC 5890), each label 1–63 letters, digits and inner hyphens,
 * at most 253 characters together. A wildcard is `*.` before such a name and stands for exactly one label, as in a
 * certificate (RFC 6125 §6.4.3). Pure functions; own nothing.
 */
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { TunnelError } from './errors.js';
import { quoted } from './printable.js';

const MAX_LENGTH = 253;
/** Bounds the work of IDNA on names that visitors send. */
const MAX_INPUT_LENGTH = 4 * MAX_LENGTH;
const OTHER_ASCII = /[^A-Za-z0-9.\-\u0080-\uffff]/;
const NEEDS_IDNA = /[^\0-\u007f]|xn--/i;
const NAME = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** What the URL standard reads as the end of an IPv4 address; a resolver may do the same with such a name. */
const ENDS_IN_NUMBER = /(?:^|\.)(?:\d+|0x[0-9a-f]*)$/;

/** Top-level names that are never on the public DNS and mean something else (RFC 6761, 7686, 9476). */
const RESERVED: ReadonlySet<string> = new Set(['invalid', 'onion', 'alt', 'arpa']);
/** The one name under `arpa` that is meant for homes (RFC 8375). */
const HOME = '.home.arpa';
/** Top-level names that belong to the one who uses them, so that `*.lan` takes nothing from anybody. */
const PRIVATE: ReadonlySet<string> = new Set(['localhost', 'test', 'internal', 'lan', 'local']);

/**
 * The stored form of an exact hostname, or undefined when it is none. For names that visitors send: never throws, and
 * says nothing about reserved names, since no route exists for them.
 */
export function hostnameOf(text: string): string | undefined {
  if (text.length > MAX_INPUT_LENGTH || OTHER_ASCII.test(text)) return undefined;
  const ascii = NEEDS_IDNA.test(text) ? domainToASCII(text) : text.toLowerCase();
  const name = ascii.endsWith('.') ? ascii.slice(0, -1) : ascii;
  if (name.length > MAX_LENGTH || !NAME.test(name) || ENDS_IN_NUMBER.test(name)) return undefined;
  return name;
}

/**
 * The stored form of one exact public hostname.
 * @param name What the text is, for the message: a config key or a flag.
 * @throws {TunnelError} CONFIG_INVALID for anything that is no hostname, for a name without a dot (but `localhost`) and
 *   for reserved names.
 */
export function normaliseHostname(text: string, name = 'hostname'): string {
  if (text.startsWith('*')) throw refusal(name, 'one exact hostname, without *', text);
  const hostname = hostnameOf(text);
  if (hostname === undefined) throw refusal(name, expectedInsteadOf(text), text);
  if (!hostname.includes('.') && hostname !== 'localhost') {
    throw refusal(name, 'a hostname with a dot, such as app.example.com', text);
  }
  if (isReserved(hostname)) throw refusal(name, `a name that is not under the reserved .${topOf(hostname)}`, text);
  return hostname;
}

/**
 * The stored form of an exact hostname or of a `*.` wildcard.
 * @param name What the text is, for the message: a config key or a flag.
 * @throws {TunnelError} CONFIG_INVALID as `normaliseHostname`, and for a wildcard over a whole public suffix (`*.com`).
 */
export function normalisePattern(text: string, name = 'hostname'): string {
  if (!text.startsWith('*')) return normaliseHostname(text, name);
  const parent = text.startsWith('*.') ? hostnameOf(text.slice(2)) : undefined;
  if (parent === undefined) throw refusal(name, 'a hostname, or a wildcard such as *.home.example.com', text);
  if (isReserved(parent)) throw refusal(name, `a name that is not under the reserved .${topOf(parent)}`, text);
  if (!parent.includes('.') && !PRIVATE.has(parent)) {
    throw refusal(name, 'a wildcard under a name of your own, such as *.home.example.com', text);
  }
  const pattern = `*.${parent}`;
  if (pattern.length > MAX_LENGTH) throw refusal(name, `at most ${MAX_LENGTH} characters`, text);
  return pattern;
}

/**
 * Whether `pattern` covers `hostname`; both in stored form. A wildcard covers exactly one label in place of its star,
 * and the same wildcard.
 */
export function hostnameMatches(pattern: string, hostname: string): boolean {
  if (pattern === hostname) return true;
  if (!pattern.startsWith('*.')) return false;
  const dot = hostname.indexOf('.');
  return dot > 0 && hostname.slice(dot) === pattern.slice(1);
}

function isReserved(hostname: string): boolean {
  return RESERVED.has(topOf(hostname)) && !`.${hostname}`.endsWith(HOME);
}

function topOf(hostname: string): string {
  return hostname.slice(hostname.lastIndexOf('.') + 1);
}

function expectedInsteadOf(text: string): string {
  if (isIP(text) !== 0) return 'a hostname, not an IP address';
  if (/[:/]/.test(text)) return 'a hostname alone, without scheme, port or path';
  return 'a hostname such as app.example.com';
}

function refusal(name: string, expected: string, text: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', `${name} must be ${expected}, got ${quoted(text)}`);
}
