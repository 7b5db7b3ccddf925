/**
 * Authority: which `Host` a visitor may ask for. Names are letters, digits, `-`, `_` and dots; addresses are IPv4 or
 * bracketed IPv6. Lists, user names, percent signs, spaces and 8-bit names, all of which two programs could read in two
 * ways, are refused.
 */
import { isIPv6 } from 'node:net';
import { DIGIT, HOST_NAME, skipClass } from './grammar.js';

const HOSTNAME_CHARS = 253;
const PORT_MAX = 65_535;
const COLON = 0x3a;
const BRACKET = 0x5b;

/** A host and an optional port, normalised. */
export interface Authority {
  /** `host` or `host:port`, lower-cased, no trailing dot, no empty port. */
  readonly authority: string;
  /** Lower-cased, no port, no trailing dot; an IPv6 address keeps its brackets. */
  readonly hostname: string;
}

/** Reads `host[:port]` (RFC 3986 §3.2, RFC 9110 §7.2); undefined when it is anything else. */
export function parseAuthority(text: string): Authority | undefined {
  const hostEnd = text.charCodeAt(0) === BRACKET ? text.indexOf(']') + 1 : skipClass(text, 0, HOST_NAME);
  const hostname = normalHostname(text.slice(0, hostEnd));
  if (hostname === undefined) return undefined;
  if (hostEnd === text.length) return { authority: hostname, hostname };
  if (text.charCodeAt(hostEnd) !== COLON) return undefined;
  return withPort(hostname, text.slice(hostEnd + 1));
}

function normalHostname(host: string): string | undefined {
  const lower = host.toLowerCase();
  if (lower.charCodeAt(0) === BRACKET) return isBracketedAddress(lower) ? lower : undefined;
  const hostname = lower.endsWith('.') ? lower.slice(0, -1) : lower;
  if (hostname === '' || hostname.length > HOSTNAME_CHARS) return undefined;
  const hasEmptyLabel = hostname.startsWith('.') || hostname.endsWith('.') || hostname.includes('..');
  return hasEmptyLabel ? undefined : hostname;
}

/** Zones (`%eth0`), which `isIPv6` takes, mean nothing beyond the visitor's own machine. */
function isBracketedAddress(host: string): boolean {
  return isIPv6(host.slice(1, -1)) && !host.includes('%');
}

function withPort(hostname: string, port: string): Authority | undefined {
  if (port === '') return { authority: hostname, hostname };
  if (skipClass(port, 0, DIGIT) !== port.length || Number(port) > PORT_MAX) return undefined;
  return { authority: `${hostname}:${port}`, hostname };
}
