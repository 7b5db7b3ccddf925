/**
 * ResponseHead: what of an origin's response head goes on, and how the head for the visitor is written.
 *
 * Reading decides the framing (RFC 9112 §6.3) and takes hop-by-hop fields away; writing makes a new head for the framing
 * and the persistence that this visitor gets. An origin is trusted a little more than a visitor: folded lines, a space
 * before a colon, equal Content-Length fields and Content-Length beside `chunked` are put right, as RFC 9112 asks of a
 * proxy. Whatever leaves the framing in doubt is refused.
 */
import { type BodyFraming, CHUNKED, NO_BODY, UNTIL_CLOSE } from './body.js';
import { isPersistent, parseConnection, removeNamed } from './connection-options.js';
import {
  type FieldEntry,
  type FieldHandler,
  FieldLines,
  type FieldRules,
  FieldTable,
  joinValues,
  writeFieldLines,
} from './field-lines.js';
import { DIGIT, FIELD_VALUE, parseDigits, skipClass } from './grammar.js';
import type { HeadLimits } from './head-buffer.js';
import { excerpt, refusal } from './refusal.js';

/** An origin's response head, taken apart. */
export interface ResponseHead {
  version: 10 | 11;
  /** 100 to 599. */
  status: number;
  reason: string;
  /** Names, as received, of the fields to forward, in order. */
  names: string[];
  /** Their values, without space around them. */
  values: string[];
  /** What follows on the origin's connection. */
  body: BodyFraming;
  /** Bytes that a response to GET would have: Content-Length of a response to HEAD and of 304, which have no body. */
  contentLength: number | undefined;
  /** Whether the origin's connection may carry another exchange. */
  keepAlive: boolean;
  /** The protocol that a 101 switches to. */
  upgrade: string | undefined;
  /** The Trailer field, written only where the response goes on chunked; '' when absent. */
  trailer: string;
}

/** How a response goes to its visitor. */
export interface ResponseOptions {
  /** `chunked` only for visitors of HTTP/1.1; `until-close` only without keepAlive. */
  framing: BodyFraming;
  /** Whether the visitor's connection lives on. */
  keepAlive: boolean;
  visitorVersion: 10 | 11;
  /** Field lines to add, each with its CR LF. */
  extra: string;
}

/** Special fields as they are met; undefined for absent ones. */
class SeenFields {
  contentLength: string | undefined;
  transferEncoding: string | undefined;
  connection: string | undefined;
  upgrade: string | undefined;
  trailer: string | undefined;
}

const TAKEN: readonly FieldEntry<FieldHandler<SeenFields>>[] = [
  ['content-length', takeContentLength],
  ['transfer-encoding', (seen, value) => (seen.transferEncoding = joinValues(seen.transferEncoding, value))],
  ['connection', (seen, value) => (seen.connection = joinValues(seen.connection, value))],
  ['upgrade', (seen, value) => (seen.upgrade = joinValues(seen.upgrade, value))],
  ['trailer', (seen, value) => (seen.trailer = joinValues(seen.trailer, value))],
  ['keep-alive', drop],
  ['proxy-connection', drop],
  ['te', drop],
];

const RULES: FieldRules<SeenFields> = {
  code: 'ORIGIN_INVALID',
  special: new FieldTable(TAKEN),
  repairs: true,
  dropsAliases: false,
};

const NO_CONTENT = 204;
const RESET_CONTENT = 205;
const NOT_MODIFIED = 304;
const SWITCHING_PROTOCOLS = 101;

/**
 * Reads a response head, without its final CR LF CR LF (RFC 9112 §4–7).
 *
 * @param requestMethod of the request that it answers: HEAD has no body
 * @throws TunnelError ORIGIN_INVALID; the origin's connection must be closed after it
 */
export function parseResponseHead(text: string, requestMethod: string, limits: HeadLimits): ResponseHead {
  const { version, status, reason, end } = parseStatusLine(text);
  const seen = new SeenFields();
  const lines = new FieldLines(text, end, RULES);
  lines.read(seen, limits.fields);
  const connection = parseConnection(seen.connection);
  removeNamed(lines.names, lines.values, connection);
  const length = readLength(seen.contentLength);
  const body = decideBody(version, status, requestMethod, seen, length);
  return {
    version,
    status,
    reason,
    names: lines.names,
    values: lines.values,
    body,
    contentLength: requestMethod === 'HEAD' || status === NOT_MODIFIED ? length : undefined,
    keepAlive: body !== UNTIL_CLOSE && isPersistent(version, connection),
    upgrade: status === SWITCHING_PROTOCOLS ? seen.upgrade : undefined,
    trailer: seen.trailer ?? '',
  };
}

/** The head for the visitor as latin1 text, blank line included. */
export function writeResponseHead(head: ResponseHead, options: ResponseOptions): string {
  const start = `HTTP/1.1 ${head.status} ${head.reason}\r\n`;
  const endToEnd = writeFieldLines(head.names, head.values);
  return `${start}${endToEnd}${options.extra}${writeFraming(head, options.framing)}${writeConnection(head, options)}\r\n`;
}

interface StatusLine {
  readonly version: 10 | 11;
  readonly status: number;
  readonly reason: string;
  /** Index of the first field line. */
  readonly end: number;
}

/** `HTTP/1.x SP 3DIGIT SP [reason]`; the second space may be missing where there is no reason, as it often is. */
function parseStatusLine(text: string): StatusLine {
  const version = text.startsWith('HTTP/1.1 ') ? 11 : text.startsWith('HTTP/1.0 ') ? 10 : undefined;
  const lineEnd = skipClass(text, 0, FIELD_VALUE);
  const line = text.slice(0, lineEnd);
  const status = Number(line.slice(9, 12));
  const isStatus = skipClass(line, 9, DIGIT) === 12 && status >= 100 && status <= 599;
  const endsWell = lineEnd === text.length || text.startsWith('\r\n', lineEnd);
  if (version === undefined || !isStatus || !endsWell || (lineEnd > 12 && line[12] !== ' ')) {
    throw refusal('ORIGIN_INVALID', `status line is ${excerpt(line)}`);
  }
  return { version, status, reason: line.slice(13), end: lineEnd + 2 };
}

function takeContentLength(seen: SeenFields, value: string): void {
  if (seen.contentLength !== undefined && seen.contentLength !== value) {
    throw refusal('ORIGIN_INVALID', `Content-Length is ${excerpt(seen.contentLength)} and ${excerpt(value)}`);
  }
  seen.contentLength = value;
}

function drop(): void {}

function readLength(contentLength: string | undefined): number | undefined {
  if (contentLength === undefined) return undefined;
  const bytes = parseDigits(contentLength);
  if (bytes === undefined) throw refusal('ORIGIN_INVALID', `Content-Length is ${excerpt(contentLength)}`);
  return bytes;
}

/** RFC 9112 §6.1 and §6.3, in its order. */
function decideBody(
  version: 10 | 11,
  status: number,
  requestMethod: string,
  seen: SeenFields,
  length: number | undefined,
): BodyFraming {
  const isChunked = seen.transferEncoding !== undefined;
  if (isChunked) checkTransferEncoding(version, seen.transferEncoding ?? '');
  if (requestMethod === 'HEAD' || status < 200 || status === NO_CONTENT || status === NOT_MODIFIED) return NO_BODY;
  if (isChunked) return CHUNKED;
  if (length !== undefined) return { kind: 'length', bytes: length };
  // 205 "implies that no additional content will be provided" (RFC 9110 §15.3.6): do not wait for the origin to close.
  return status === RESET_CONTENT ? { kind: 'length', bytes: 0 } : UNTIL_CLOSE;
}

function checkTransferEncoding(version: 10 | 11, transferEncoding: string): void {
  if (version === 10) throw refusal('ORIGIN_INVALID', 'Transfer-Encoding on HTTP/1.0');
  if (transferEncoding.toLowerCase() === 'chunked') return;
  throw refusal('ORIGIN_INVALID', `Transfer-Encoding is ${excerpt(transferEncoding)}, not chunked alone`);
}

/** RFC 9110 §8.6: no Content-Length on 1xx and 204; on 304 and for HEAD the length that GET would get. */
function writeFraming(head: ResponseHead, framing: BodyFraming): string {
  if (framing.kind === 'length') return `Content-Length: ${framing.bytes}\r\n`;
  if (framing.kind === 'chunked') {
    const trailer = head.trailer === '' ? '' : `Trailer: ${head.trailer}\r\n`;
    return `${trailer}Transfer-Encoding: chunked\r\n`;
  }
  if (framing.kind === 'until-close' || head.contentLength === undefined) return '';
  return `Content-Length: ${head.contentLength}\r\n`;
}

function writeConnection(head: ResponseHead, options: ResponseOptions): string {
  if (head.status === SWITCHING_PROTOCOLS) return `Connection: Upgrade\r\n${upgradeLine(head)}`;
  if (head.status < 200) return '';
  if (!options.keepAlive || options.framing.kind === 'until-close') return 'Connection: close\r\n';
  return options.visitorVersion === 10 ? 'Connection: keep-alive\r\n' : '';
}

function upgradeLine(head: ResponseHead): string {
  return head.upgrade === undefined ? '' : `Upgrade: ${head.upgrade}\r\n`;
}
