/**
 * AuditChain: decides how one record of the audit log looks and how records hold each other in place.
 *
 *   {"seq":7,"time":"…","event":"token-created",…,"prev":"<hash of record 6>","hash":"<hash of this record>"}
 *
 * `hash` is the SHA-256 of the line without it (`,"hash":"…"` cut out), and that text contains `prev`: whoever changes,
 * removes or inserts a line must change every line after it. A shell can check one line with sed and sha256sum.
 * Pure; owns nothing. Used by: audit-append.ts (writes), audit-verify.ts (reads).
 */
import { createHash } from 'node:crypto';
import { parseJsonObject } from '../../../shared/json-object.js';
import { type LogFields, loggable } from '../../../shared/log-fields.js';
import { printable } from '../../../shared/printable.js';

/** Something that happened, before it has a place in the chain. */
export interface AuditEntry {
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** What happened, in kebab case: `token-created`. */
  readonly event: string;
  /** Who did what to whom; secrets are masked and texts cut, as in any log record. */
  readonly fields: LogFields;
}

/** A place in the chain: the newest record so far. */
export interface ChainEnd {
  /** 1 for the first record of all; 0 before it. */
  readonly seq: number;
  /** 64 hex digits. */
  readonly hash: string;
}

/** What a reader of the chain needs of a record. */
export interface ChainRecord extends ChainEnd {
  readonly prev: string;
  /** The whole record. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** The longest line, without its line end. */
export const MAX_LINE_BYTES = 8 * 1024;
/** Written in place of a record's fields when they would be too long. */
const TOO_LONG = { fields: '[too long]' };
export const CHAIN_START: ChainEnd = { seq: 0, hash: '0'.repeat(64) };
/** The event that vouches for the remains of a line whose writer died: `bytes` and `sha256` of what it left. */
export const TORN_EVENT = 'line-torn';

const OWN_KEYS: ReadonlySet<string> = new Set(['seq', 'time', 'event', 'prev', 'hash']);
const HASH = /,"hash":"([0-9a-f]{64})"\}$/;

/** The line of `entry` as the record after `end`, without its line end, and the new end. */
export function seal(entry: AuditEntry, end: ChainEnd): { readonly line: string; readonly end: ChainEnd } {
  const body = bodyOf(entry, end);
  const hash = sha256(body);
  return { line: `${body.slice(0, -1)},"hash":"${hash}"}`, end: { seq: end.seq + 1, hash } };
}

/** The record of a line; undefined when it is none, or when its own hash does not fit it. */
export function readRecord(line: Buffer): ChainRecord | undefined {
  if (line.length > MAX_LINE_BYTES) return undefined;
  const text = line.toString('utf8');
  const hash = HASH.exec(text)?.[1];
  if (hash === undefined || sha256(text.replace(HASH, '}')) !== hash) return undefined;
  const facts = parseJsonObject(text);
  const { seq, prev } = facts;
  if (typeof seq !== 'number' || !Number.isSafeInteger(seq) || seq < 1 || typeof prev !== 'string') return undefined;
  return { seq, prev, hash, facts };
}

/** What vouches for the remains of a torn line. */
export function tornEntry(remains: Buffer, timeMs: number): AuditEntry {
  return { timeMs, event: TORN_EVENT, fields: { bytes: remains.length, sha256: sha256(remains) } };
}

/** Whether `record` vouches for exactly these remains. */
export function vouchesFor({ facts }: ChainRecord, remains: Buffer): boolean {
  return facts.event === TORN_EVENT && facts.bytes === remains.length && facts.sha256 === sha256(remains);
}

function bodyOf({ timeMs, event, fields }: AuditEntry, { seq, hash }: ChainEnd): string {
  const facts = Object.entries(loggable(fields, false)).map(([key, value]) => [
    OWN_KEYS.has(key) ? `${key}_` : key,
    value,
  ]);
  const head = { seq: seq + 1, time: new Date(timeMs).toISOString(), event };
  const body = printable(JSON.stringify({ ...head, ...Object.fromEntries(facts), prev: hash }));
  // The hash comes on top, and everything that a visitor could make long is in `facts`.
  if (Buffer.byteLength(body) <= MAX_LINE_BYTES - 128) return body;
  return JSON.stringify({ ...head, ...TOO_LONG, prev: hash });
}

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
