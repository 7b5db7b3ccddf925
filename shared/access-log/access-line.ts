/**
 * AccessLine: decides how one request or one carried connection looks in the access log: an object of JSON, or the
 * `combined` format of Apache and nginx with what that does not know behind it as `key=value`.
 *
 * A line is made of what strangers wrote, so: printable, quoted, and never longer than MAX_LINE_BYTES, which a pipe takes in
 * one piece (PIPE_BUF). Query strings are shown as the config says, in the path and in the referrer.
 * Pure; owns nothing. Used by: access-log.ts.
 */
import { type ErrorCode, statusOf } from '../errors.js';
import type { ExchangeRecord } from '../http/http-site.js';
import { fieldValue, type RequestHead } from '../http/request-head.js';
import { printable, shortened } from '../printable.js';
import type { AccessConfig } from './access-config.js';

/** A connection whose bytes were carried as they were. */
export interface ConnectionRecord {
  /** `tls`: the TLS of a tunnel that ends elsewhere. */
  readonly kind: 'tcp' | 'tls';
  readonly requestId: string;
  /** Why it failed, STREAM_RESET when one side broke it off; undefined when both sides finished. */
  readonly code: ErrorCode | undefined;
  readonly ms: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** Who visited what. */
export interface AccessPlace {
  /** The visitor's address. */
  readonly visitor: string;
  /** The tunnel's name; '' when there was none. */
  readonly tunnel: string;
  /** The public address: a hostname, or `:port`. */
  readonly public: string;
}

export const MAX_LINE_BYTES = 4_096;
const MAX_PATH = 1_024;
const MAX_HEADER = 512;
/** What is left of texts when a line would be too long: escapes can make six characters of one. */
const MAX_TEXT_WHEN_LONG = 100;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
/** Nothing that could end a quoted text. */
const QUOTED_OUT = /["\\]/g;
/** Nothing that could be taken for two words. */
const WORD = /[^\x21-\x7e]|["\\]/g;

interface Facts {
  readonly requestId: string;
  readonly status: number;
  readonly code: ErrorCode | undefined;
  readonly ms: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly firstByteMs?: number | undefined;
  readonly kind: 'http' | 'tcp' | 'tls';
  readonly method: string;
  readonly path: string;
  readonly protocol: string;
  readonly referrer: string;
  readonly userAgent: string;
}

/** The line of a request, without its line end. */
export function requestLine(record: ExchangeRecord, place: AccessPlace, config: AccessConfig, timeMs: number): string {
  const { request, requestId, status, code, ms, bytesIn, bytesOut, firstByteMs } = record;
  const said = request === undefined ? UNREADABLE : saidIn(request, config.query);
  return line(
    { requestId, status, code, ms, bytesIn, bytesOut, firstByteMs, kind: 'http', ...said },
    place,
    config,
    timeMs,
  );
}

/** The line of a carried connection, without its line end. */
export function connectionLine(
  record: ConnectionRecord,
  place: AccessPlace,
  config: AccessConfig,
  timeMs: number,
): string {
  const status = record.code === undefined ? 200 : statusOf(record.code);
  const said = {
    method: 'CONNECT',
    path: place.public,
    protocol: record.kind.toUpperCase(),
    referrer: '',
    userAgent: '',
  };
  return line({ ...record, status, ...said }, place, config, timeMs);
}

/** The path of a target without its query. */
export function pathOf(target: string): string {
  const at = target.indexOf('?');
  return at < 0 ? target : target.slice(0, at);
}

/** `target` with as much of its query as `query` allows. */
export function shownTarget(target: string, query: AccessConfig['query']): string {
  const path = pathOf(target);
  if (query === 'full' || path.length === target.length) return target;
  if (query === 'none') return path;
  const pairs = target.slice(path.length + 1).split('&');
  // A text without `=` may be a secret as a whole.
  const names = pairs.map((pair) => (pair.includes('=') ? `${pair.slice(0, pair.indexOf('='))}=-` : '-'));
  return `${path}?${names.join('&')}`;
}

const UNREADABLE = { method: '-', path: '-', protocol: '-', referrer: '', userAgent: '' };

function saidIn(request: RequestHead, query: AccessConfig['query']) {
  const referrer = fieldValue(request, 'referer');
  return {
    method: request.method,
    path: shownTarget(request.target, query),
    protocol: request.version === 11 ? 'HTTP/1.1' : 'HTTP/1.0',
    // A fragment has no business in the field, so nothing of it is kept.
    referrer: shownTarget(referrer.split('#', 1)[0] ?? '', query),
    userAgent: fieldValue(request, 'user-agent'),
  };
}

function line(facts: Facts, place: AccessPlace, { format }: AccessConfig, timeMs: number): string {
  const write = format === 'json' ? jsonLine : combinedLine;
  const text = write(cut(facts, MAX_PATH, MAX_HEADER), place, timeMs);
  if (Buffer.byteLength(text) < MAX_LINE_BYTES) return text;
  return write(cut(facts, MAX_TEXT_WHEN_LONG, MAX_TEXT_WHEN_LONG), place, timeMs);
}

function cut(facts: Facts, maxPath: number, maxHeader: number): Facts {
  return {
    ...facts,
    method: shortened(facts.method, 32),
    path: shortened(facts.path, maxPath),
    referrer: shortened(facts.referrer, maxHeader),
    userAgent: shortened(facts.userAgent, maxHeader),
  };
}

function jsonLine(facts: Facts, place: AccessPlace, timeMs: number): string {
  const { kind, requestId, method, path, protocol, status, code, ms, firstByteMs, bytesIn, bytesOut } = facts;
  const http = kind === 'http' ? { method, path, protocol, status } : {};
  const said = { referrer: facts.referrer || undefined, userAgent: facts.userAgent || undefined };
  const times = { ms: rounded(ms), firstByteMs: firstByteMs === undefined ? undefined : rounded(firstByteMs) };
  const head = { time: new Date(timeMs).toISOString(), kind, ...place, ...http, code, ...times };
  return printable(JSON.stringify({ ...head, bytesIn, bytesOut, requestId, ...said }));
}

function combinedLine(facts: Facts, place: AccessPlace, timeMs: number): string {
  const { requestId, method, path, protocol, status, code, ms, bytesIn, bytesOut, referrer, userAgent } = facts;
  const start = `${word(place.visitor)} - - [${clfTime(timeMs)}] "${inQuotes(method)} ${inQuotes(path)} ${protocol}"`;
  const combined = `${start} ${status} ${bytesOut} "${inQuotes(referrer)}" "${inQuotes(userAgent)}"`;
  const more = `public=${word(place.public)} tunnel=${word(place.tunnel)} ms=${rounded(ms)} in=${bytesIn}`;
  return `${combined} ${more} code=${code ?? '-'} id=${word(requestId)}`;
}

/** As nginx escapes: what ends a quoted text, or is not visible, in hexadecimal. */
function inQuotes(text: string): string {
  if (text === '') return '-';
  return printable(text.replace(QUOTED_OUT, (character) => `\\x${character.charCodeAt(0).toString(16)}`));
}

function word(text: string): string {
  return text === '' ? '-' : text.replace(WORD, '_');
}

/** `20/Nov/2026:22:45:01 +0000`, always UTC. */
function clfTime(timeMs: number): string {
  const time = new Date(timeMs).toISOString();
  return `${time.slice(8, 10)}/${MONTHS[Number(time.slice(5, 7)) - 1]}/${time.slice(0, 4)}:${time.slice(11, 19)} +0000`;
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}
