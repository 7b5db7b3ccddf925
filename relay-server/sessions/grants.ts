/**
 * Grants: decides what a token may claim.
 *
 * A host grant is an exact hostname or a `*.` wildcard of one label: `*.home.example.com` covers `a.home.example.com`
 * and a claim of that same wildcard, but neither `home.example.com` nor `a.b.home.example.com`. A port grant is one TCP
 * port (`2222`) or a range (`2200-2299`). What is not granted is denied. Pure functions; own nothing.
 */
import { TunnelError } from '../../shared/errors.js';
import { hostnameMatches, hostnameOf, normalisePattern } from '../../shared/hostname.js';
import { quoted } from '../../shared/printable.js';

const PORT_RANGE = /^([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?$/;
const MAX_PORT = 65_535;
const KEYS = ['hosts', 'tcpPorts'];

export interface Grants {
  /** Hostnames and `*.` wildcards in stored form (shared/hostname.ts). */
  readonly hosts: readonly string[];
  /** Ports and ranges, `2222` or `2200-2299`. */
  readonly tcpPorts: readonly string[];
}

/** Whether a tunnel of this token may have `hostname`, exact or wildcard, in stored form; false for any other form. */
export function mayClaimHost(grants: Grants, hostname: string): boolean {
  const name = hostname.startsWith('*.') ? hostname.slice(2) : hostname;
  return hostnameOf(name) === name && grants.hosts.some((pattern) => hostnameMatches(pattern, hostname));
}

/** Whether a tunnel of this token may have this public TCP port. */
export function mayClaimPort(grants: Grants, port: number): boolean {
  if (!Number.isInteger(port)) return false;
  return grants.tcpPorts.some((range) => {
    const ends = endsOf(range);
    return ends !== undefined && port >= ends.first && port <= ends.last;
  });
}

/**
 * Grants from what a person wrote: each in stored form, once.
 * @throws {TunnelError} CONFIG_INVALID for a hostname or port that is none.
 */
export function makeGrants(hosts: readonly string[], tcpPorts: readonly string[]): Grants {
  return {
    hosts: [...new Set(hosts.map((host) => normalisePattern(host, 'host')))],
    tcpPorts: [...new Set(tcpPorts.map(checkPortRange))],
  };
}

/** Grants from a token file. @throws {Error} for any key that is unknown or malformed. */
export function readGrants(file: Readonly<Record<string, unknown>>): Grants {
  const unknown = Object.keys(file).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw new Error(`grant ${JSON.stringify(unknown)} is unknown to this version`);
  return makeGrants(asTexts(file.hosts, 'grants.hosts'), asTexts(file.tcpPorts, 'grants.tcpPorts'));
}

function checkPortRange(range: string): string {
  if (endsOf(range)) return range;
  const expected = 'a port such as 2222 or a range such as 2200-2299';
  throw new TunnelError('CONFIG_INVALID', `TCP port must be ${expected}, got ${quoted(range)}`);
}

function endsOf(range: string): { first: number; last: number } | undefined {
  const match = PORT_RANGE.exec(range);
  if (!match) return undefined;
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  return first <= last && last <= MAX_PORT ? { first, last } : undefined;
}

function asTexts(value: unknown, what: string): readonly string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  throw new Error(`${what} is not a list of texts`);
}
