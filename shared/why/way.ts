/**
 * Way: how a followed request is told: which code belongs to which hop, what to do about it, and the lines for a terminal.
 * Pure; owns nothing.
 */

import { padded } from '../command/terminal-text.js';
import type { ErrorCode } from '../errors.js';
import { errorTexts } from '../http/error-texts.js';
import { RELAY_HOPS, type RelayHop } from '../messages.js';
import { printable } from '../printable.js';

export type HopName = 'dns' | 'connect' | 'tls' | RelayHop;

export interface Hop {
  readonly hop: HopName;
  readonly state: 'PASS' | 'FAIL' | 'SKIP';
  /** What this hop took; undefined when it is not known. */
  readonly ms?: number;
  readonly found: string;
  readonly cure?: string;
}

/** A request from its URL to where it ended. Behind a certificate that visitors refuse it was followed all the same. */
export interface Way {
  readonly url: string;
  readonly hops: readonly Hop[];
}

const HOPS: ReadonlyMap<ErrorCode, RelayHop> = new Map([
  ['ROUTE_NOT_FOUND', 'route'],
  ['REQUEST_INVALID', 'policy'],
  ['HOST_MISDIRECTED', 'policy'],
  ['TUNNEL_OFFLINE', 'session'],
  ['RELAY_DRAINING', 'session'],
  ['HANDSHAKE_TIMEOUT', 'session'],
  ['LINK_LOST', 'stream'],
  ['HEARTBEAT_LOST', 'stream'],
  ['LIMIT_EXCEEDED', 'stream'],
  ['STREAM_RESET', 'stream'],
  ['ORIGIN_REFUSED', 'dial'],
  ['ORIGIN_TIMEOUT', 'dial'],
  ['ORIGIN_TLS_FAILED', 'dial'],
  ['ORIGIN_CLOSED', 'app'],
  ['ORIGIN_INVALID', 'app'],
]);
const EXIT_FAILED = 69;

/** The hop that ended with this code. What was passed already cannot be it: then it is the next one. */
export function hopOf(code: ErrorCode, passed: readonly RelayHop[]): Hop {
  const usual = HOPS.get(code) ?? 'policy';
  const next = RELAY_HOPS.find((hop) => !passed.includes(hop)) ?? 'app';
  const hop = passed.includes(usual) ? next : usual;
  const { what, owner } = errorTexts[code];
  return { hop, state: 'FAIL', found: `${code}: ${what.replaceAll('`', '')}`, cure: owner.replaceAll('`', '') };
}

/** The hop that failed; undefined when the request arrived. */
export function failedHopOf({ hops }: Way): Hop | undefined {
  return hops.find(({ state }) => state === 'FAIL');
}

export function exitOfWay(way: Way): number {
  return failedHopOf(way) === undefined ? 0 : EXIT_FAILED;
}

/** One line per hop, and one that says where it ended. */
export function wayLines(way: Way): string[] {
  const failed = failedHopOf(way);
  const last = failed === undefined ? 'The request arrived.' : endOf(way, failed);
  return [...way.hops.flatMap(hopLines), last];
}

function endOf({ hops }: Way, { hop }: Hop): string {
  if (hops.at(-1)?.hop === hop) return `It ended at: ${hop}.`;
  return `Visitors end at: ${hop}. What is behind it was looked at all the same.`;
}

function hopLines({ hop, state, ms, found, cure }: Hop): string[] {
  const time = (ms === undefined ? '' : `${ms.toFixed(1)} ms`).padStart(10);
  const line = `${state}  ${padded(hop, 8)} ${time}  ${printable(found)}`;
  return cure === undefined ? [line] : [line, `${' '.repeat(27)}→ ${printable(cure)}`];
}
