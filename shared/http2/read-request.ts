/**
 * ReadRequest: what an HTTP/2 request says, as the RequestHead that everything behind it knows.
 *
 * Its fields are written down as an HTTP/1.1 head, and the one strict reader reads that (shared/http): whatever it would
 * refuse, drop or take aside in HTTP/1.1 meets the same end here, and no rule has to be kept twice. What differs is
 * checked before: nothing may stand in a name or a value that would begin a line of its own, the fields that only
 * HTTP/1.1 has are malformed (RFC 9113 §8.2.2), cookie crumbs become one cookie (§8.2.3), and a WebSocket asked for with
 * extended CONNECT (RFC 8441) becomes an Upgrade.
 *
 * Pure; node:http2 has checked most of it before, and is not believed.
 */

import { writeFieldLines } from '../http/field-lines.js';
import { isToken } from '../http/grammar.js';
import type { HeadLimits } from '../http/head-buffer.js';
import { excerpt, refusal } from '../http/refusal.js';
import { parseRequestHead, type RequestHead } from '../http/request-head.js';
import { readTrailers, TRAILER_LIMITS } from '../http/trailers.js';

type Kind = 'plain' | 'websocket';

/** What the fields of a request come to. */
class SeenFields {
  method = '';
  scheme = '';
  authority = '';
  path = '';
  protocol = '';
  host = '';
  cookie = '';
  hasLength = false;
  /** Ordinary fields as they stand in HTTP/1.1. */
  lines = '';
}

/** Where the value of a pseudo-field belongs (RFC 9113 §8.3.1, RFC 8441 §4). */
const PSEUDO = new Map<string, 'method' | 'scheme' | 'authority' | 'path' | 'protocol'>([
  [':method', 'method'],
  [':scheme', 'scheme'],
  [':authority', 'authority'],
  [':path', 'path'],
  [':protocol', 'protocol'],
]);
/** Fields that speak about one HTTP/1.1 connection. */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'],
]);
/** Of a WebSocket handshake in HTTP/1.1; over HTTP/2 they mean nothing, and we say them ourselves. */
const HANDSHAKE_FIELDS: ReadonlySet<string> = new Set(['sec-websocket-key', 'sec-websocket-accept']);

const COLON = 0x3a;
const LINE_BREAK = /[\r\n\0]/;

/**
 * Reads the fields of a request: names and values in turn, pseudo-fields included.
 *
 * @param ends whether the request has no body
 * @param webSocketKey for the Upgrade that a WebSocket's CONNECT becomes; not called for other requests
 * @throws {TunnelError} REQUEST_INVALID with status 400, 405, 431 or 501
 */
export function readRequest(
  fields: readonly string[],
  ends: boolean,
  limits: HeadLimits,
  webSocketKey: () => string,
): RequestHead {
  const seen = new SeenFields();
  for (let index = 0; index < fields.length; index += 2) takeField(seen, fields[index] ?? '', fields[index + 1] ?? '');
  decideAuthority(seen);
  const kind = kindOf(seen);
  const method = kind === 'websocket' ? 'GET' : seen.method;
  const upgrade = kind === 'websocket' ? upgradeLines(webSocketKey()) : framingLine(seen, ends);
  const cookie = seen.cookie === '' ? '' : `cookie: ${seen.cookie}\r\n`;
  const head = parse(
    `${method} ${seen.path} HTTP/1.1\r\nHost: ${seen.authority}\r\n${seen.lines}${cookie}${upgrade}`,
    limits,
  );
  // Had the method or the path held a space or a line break, the reader would have found another one.
  if (head.method !== method || head.target !== seen.path) throw malformed('a method or a path that is none');
  const { body } = head;
  if (body.kind === 'length' && (kind === 'websocket' || (ends && body.bytes > 0)))
    throw malformed('a wrong content-length');
  return head;
}

function takeField(seen: SeenFields, name: string, value: string): void {
  if (LINE_BREAK.test(value)) throw malformed(`a line break in the value of ${excerpt(name)}`);
  if (name.charCodeAt(0) === COLON) takePseudo(seen, name, value);
  else if (name === 'cookie') seen.cookie = seen.cookie === '' ? value : `${seen.cookie}; ${value}`;
  else if (name === 'host') takeHost(seen, value);
  else if (!HANDSHAKE_FIELDS.has(name)) takeOrdinary(seen, name, value);
}

function takePseudo(seen: SeenFields, name: string, value: string): void {
  const place = PSEUDO.get(name);
  if (place === undefined) throw malformed(`the pseudo-field ${excerpt(name)}`);
  if (seen[place] !== '') throw malformed(`two fields ${name}`);
  seen[place] = value;
}

function takeOrdinary(seen: SeenFields, name: string, value: string): void {
  if (!isToken(name) || name !== name.toLowerCase()) throw malformed(`the field name ${excerpt(name)}`);
  if (CONNECTION_FIELDS.has(name)) throw malformed(`the field ${name}, which only HTTP/1.1 has`);
  if (name === 'te' && value !== 'trailers') throw malformed(`te: ${excerpt(value)}`);
  if (name === 'content-length') seen.hasLength = true;
  seen.lines += `${name}: ${value}\r\n`;
}

function takeHost(seen: SeenFields, value: string): void {
  if (seen.host !== '') throw malformed('two fields host');
  seen.host = value;
}

/** RFC 9113 §8.3.1: `:authority` counts, and whoever says Host besides must say the same. */
function decideAuthority(seen: SeenFields): void {
  if (seen.authority === '') seen.authority = seen.host;
  else if (seen.host !== '' && seen.authority.toLowerCase() !== seen.host.toLowerCase()) {
    throw malformed('a host that differs from :authority');
  }
  if (seen.authority === '') throw malformed('no :authority');
}

function kindOf({ method, scheme, path, protocol }: SeenFields): Kind {
  if (method === 'CONNECT' && protocol === '') throw refusal('REQUEST_INVALID', 'CONNECT is not allowed', 405);
  if (scheme !== 'https' && scheme !== 'http') throw malformed(`the scheme ${excerpt(scheme)}`);
  // An absolute-form path would name a second authority.
  if (!path.startsWith('/') && path !== '*') throw malformed(`the path ${excerpt(path)}`);
  if (protocol === '') return 'plain';
  if (method !== 'CONNECT') throw malformed(':protocol without CONNECT');
  if (protocol === 'websocket') return 'websocket';
  throw refusal('REQUEST_INVALID', `the protocol ${excerpt(protocol)} is not spoken here`, 501);
}

/** HTTP/2 tells the end of a body by itself; HTTP/1.1 needs a length or chunks. */
function framingLine(seen: SeenFields, ends: boolean): string {
  return ends || seen.hasLength ? '' : 'Transfer-Encoding: chunked\r\n';
}

function upgradeLines(webSocketKey: string): string {
  return `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${webSocketKey}\r\n`;
}

/** Each line has its CR LF here; the reader takes the head without the last one. */
function parse(text: string, limits: HeadLimits): RequestHead {
  if (text.length > limits.headBytes) throw refusal('REQUEST_INVALID', `head is over ${limits.headBytes} bytes`, 431);
  return parseRequestHead(text.slice(0, -2), limits);
}

function malformed(what: string): Error {
  return refusal('REQUEST_INVALID', `HTTP/2 request has ${what}`);
}

/**
 * Trailers of a request as HTTP/1.1 field lines, without those that may not go on.
 * @throws {TunnelError} REQUEST_INVALID
 */
export function readTrailerLines(fields: readonly string[]): string {
  const seen = new SeenFields();
  for (let index = 0; index < fields.length; index += 2) {
    const value = fields[index + 1] ?? '';
    if (LINE_BREAK.test(value)) throw malformed('a line break in a trailer');
    takeOrdinary(seen, fields[index] ?? '', value);
  }
  if (seen.lines.length > TRAILER_LIMITS.headBytes) throw malformed('too long a trailer section');
  const { names, values } = readTrailers(seen.lines.slice(0, -2), 'REQUEST_INVALID');
  return writeFieldLines(names, values);
}
