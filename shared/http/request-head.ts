/**
 * RequestHead: what of a visitor's request head goes on, and how the relay's own head to the origin is written.
 *
 * Reading takes a head apart: framing, Host, hop-by-hop fields and every field by which a visitor could pretend to be us
 * are taken aside or dropped, also under an alias such as `X_Forwarded_For`; what is left are the end-to-end fields.
 * Writing makes a new head of the parts. No byte of the old one is copied as a whole, so nothing that was not understood
 * can go on, and Connection options, applied to what is left only, cannot remove what the relay sets.
 */
import { parseAuthority } from './authority.js';
import { type BodyFraming, CHUNKED, NO_BODY } from './body.js';
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
import { listMembers, parseDigits } from './grammar.js';
import type { HeadLimits } from './head-buffer.js';
import { excerpt, refusal } from './refusal.js';
import { parseRequestLine, type RequestLine } from './request-line.js';

/** A visitor's request head, taken apart. */
export interface RequestHead {
  method: string;
  /** Origin-form, or `*` (OPTIONS). */
  target: string;
  version: 10 | 11;
  /** Host, or the equal authority of an absolute-form target: `host[:port]`, lower-cased. '' only on HTTP/1.0 without Host. */
  authority: string;
  /** The authority without port and trailing dot; IPv6 in brackets. */
  hostname: string;
  /** Names, as received, of the end-to-end fields to forward, in order. */
  names: string[];
  /** Their values, without space around them. */
  values: string[];
  /** Never `until-close`. */
  body: BodyFraming;
  /** Whether the visitor's connection may carry another request. */
  keepAlive: boolean;
  /** Protocols that the visitor asks to switch to, never h2c; undefined for none. */
  upgrade: string | undefined;
  /** `Expect: 100-continue`; the field itself is forwarded too. */
  expectContinue: boolean;
  /** `TE: trailers`: the visitor takes trailers, and its own are forwarded. */
  acceptsTrailers: boolean;
  /** X-Forwarded-For as received, '' when absent. Only for a relay behind a trusted proxy. */
  forwardedFor: string;
  /** X-Forwarded-Proto as received, '' when absent. Only for a relay behind a trusted proxy. */
  forwardedProto: string;
  /** X-Request-Id as received, '' when absent. Only for a relay behind a trusted proxy. */
  requestId: string;
  /** X-Sallyport-Trace as received, '' when absent; never forwarded. Only for relays. */
  trace?: string;
}

/** What the edge knows of a visitor and tells the origin. */
export interface ForwardedFields {
  /** X-Forwarded-For: addresses, comma-separated. */
  forwardedFor: string;
  proto: 'http' | 'https';
  /** X-Real-IP: one address. */
  realIp: string;
  /** Forwarded (RFC 7239). */
  forwarded: string;
  requestId: string;
}

/** Special fields as they are met; undefined for absent ones. */
class SeenFields {
  host: string | undefined;
  contentLength: string | undefined;
  transferEncoding: string | undefined;
  connection: string | undefined;
  upgrade: string | undefined;
  te: string | undefined;
  trailer: string | undefined;
  expect: string | undefined;
  forwardedFor: string | undefined;
  forwardedProto: string | undefined;
  requestId: string | undefined;
  trace: string | undefined;
}

const TAKEN: readonly FieldEntry<FieldHandler<SeenFields>>[] = [
  ['host', takeHost],
  ['content-length', takeContentLength],
  ['transfer-encoding', (seen, value) => (seen.transferEncoding = joinValues(seen.transferEncoding, value))],
  ['connection', (seen, value) => (seen.connection = joinValues(seen.connection, value))],
  ['upgrade', (seen, value) => (seen.upgrade = joinValues(seen.upgrade, value))],
  ['te', (seen, value) => (seen.te = joinValues(seen.te, value))],
  ['trailer', (seen, value) => (seen.trailer = joinValues(seen.trailer, value))],
  ['expect', (seen, value) => (seen.expect = joinValues(seen.expect, value))],
  ['x-forwarded-for', (seen, value) => (seen.forwardedFor = joinValues(seen.forwardedFor, value))],
  ['x-forwarded-proto', (seen, value) => (seen.forwardedProto = joinValues(seen.forwardedProto, value))],
  ['x-request-id', (seen, value) => (seen.requestId = joinValues(seen.requestId, value))],
  ['x-sallyport-trace', (seen, value) => (seen.trace = joinValues(seen.trace, value))],
];
const DROPPED = [
  ...['keep-alive', 'proxy-connection', 'proxy-authorization', 'proxy-authenticate', 'http2-settings'],
  ...['proxy', 'forwarded', 'x-real-ip'],
].map((name): FieldEntry<FieldHandler<SeenFields>> => [name, drop]);

const RULES: FieldRules<SeenFields> = {
  code: 'REQUEST_INVALID',
  special: new FieldTable([...TAKEN, ...DROPPED], ['x-forwarded', drop]),
  repairs: false,
  dropsAliases: true,
};

/**
 * Reads a request head, without its final CR LF CR LF (RFC 9112 §3, §5–7).
 *
 * @throws TunnelError REQUEST_INVALID with status 400, 405, 431, 501 or 505; the connection must be closed after it
 */
export function parseRequestHead(text: string, limits: HeadLimits): RequestHead {
  const line = parseRequestLine(text);
  const seen = new SeenFields();
  const { names, values } = readFields(text, line.end, seen, limits);
  const { authority, hostname } = decideAuthority(line, seen.host);
  const connection = parseConnection(seen.connection);
  const acceptsTrailers = seen.te !== undefined && line.version === 11 && listMembers(seen.te).includes('trailers');
  const body = decideBody(line.version, seen);
  removeNamed(names, values, connection);
  if (seen.expect !== undefined && line.version === 11) append(names, values, 'Expect', seen.expect);
  if (seen.trailer !== undefined && acceptsTrailers && body === CHUNKED) append(names, values, 'Trailer', seen.trailer);
  return {
    method: line.method,
    target: line.target,
    version: line.version,
    authority,
    hostname,
    names,
    values,
    body,
    keepAlive: isPersistent(line.version, connection),
    upgrade: connection.upgrade && line.version === 11 ? withoutH2c(seen.upgrade) : undefined,
    expectContinue: line.version === 11 && seen.expect?.toLowerCase() === '100-continue',
    acceptsTrailers,
    forwardedFor: seen.forwardedFor ?? '',
    forwardedProto: seen.forwardedProto ?? '',
    requestId: seen.requestId ?? '',
    trace: seen.trace ?? '',
  };
}

/**
 * The head for the origin as latin1 text, blank line included: always HTTP/1.1.
 *
 * @param hostHeader Host for the origin, when the tunnel sets one; X-Forwarded-Host always tells the public name
 */
export function writeRequestHead(head: RequestHead, forwarded: ForwardedFields, hostHeader?: string): string {
  const ours =
    `X-Forwarded-For: ${forwarded.forwardedFor}\r\n` +
    `X-Forwarded-Proto: ${forwarded.proto}\r\n` +
    `X-Forwarded-Host: ${head.authority}\r\n` +
    `X-Real-IP: ${forwarded.realIp}\r\n` +
    `Forwarded: ${forwarded.forwarded}\r\n` +
    `X-Request-Id: ${forwarded.requestId}\r\n`;
  const start = `${head.method} ${head.target} HTTP/1.1\r\nHost: ${hostHeader ?? head.authority}\r\n`;
  const endToEnd = writeFieldLines(head.names, head.values);
  return `${start}${endToEnd}${ours}${writeFraming(head.body)}${writeConnection(head)}\r\n`;
}

/** The first value of a field among names and values, '' when it is absent. */
export function fieldValue(
  head: { readonly names: readonly string[]; readonly values: readonly string[] },
  lowerCaseName: string,
): string {
  for (let index = 0; index < head.names.length; index += 1) {
    const name = head.names[index] ?? '';
    if (name.length === lowerCaseName.length && name.toLowerCase() === lowerCaseName) return head.values[index] ?? '';
  }
  return '';
}

function readFields(text: string, start: number, seen: SeenFields, limits: HeadLimits): FieldLines<SeenFields> {
  const lines = new FieldLines(text, start, RULES);
  lines.read(seen, limits.fields);
  return lines;
}

function takeHost(seen: SeenFields, value: string): void {
  if (seen.host !== undefined) throw refusal('REQUEST_INVALID', 'two Host fields');
  seen.host = value;
}

/** RFC 9110 §8.6 would allow equal ones; no client sends them, and the next reader may take the other one. */
function takeContentLength(seen: SeenFields, value: string): void {
  if (seen.contentLength !== undefined) throw refusal('REQUEST_INVALID', 'two Content-Length fields');
  seen.contentLength = value;
}

function drop(): void {}

function append(names: string[], values: string[], name: string, value: string): void {
  names.push(name);
  values.push(value);
}

/** RFC 9112 §3.2. A target in absolute-form must say the same as Host, so that no two readers route it differently. */
function decideAuthority(line: RequestLine, host: string | undefined): { authority: string; hostname: string } {
  if (host === undefined && line.version === 11) throw refusal('REQUEST_INVALID', 'no Host field');
  const ofHost = host === undefined ? undefined : readAuthority('Host', host);
  if (line.authority === undefined) return ofHost ?? { authority: '', hostname: '' };
  const ofTarget = readAuthority('target', line.authority);
  if (ofHost !== undefined && ofHost.authority !== ofTarget.authority) {
    throw refusal('REQUEST_INVALID', `target names ${excerpt(ofTarget.authority)}, Host ${excerpt(ofHost.authority)}`);
  }
  return ofTarget;
}

function readAuthority(where: string, text: string): { authority: string; hostname: string } {
  const authority = parseAuthority(text);
  if (authority === undefined)
    throw refusal('REQUEST_INVALID', `${where} has no valid host and port: ${excerpt(text)}`);
  return authority;
}

/** RFC 9112 §6.1, §6.3: only a lone `chunked`, only on HTTP/1.1, never beside Content-Length. */
function decideBody(version: 10 | 11, seen: SeenFields): BodyFraming {
  const { transferEncoding, contentLength } = seen;
  if (transferEncoding !== undefined) {
    if (version === 10) throw refusal('REQUEST_INVALID', 'Transfer-Encoding on HTTP/1.0');
    if (contentLength !== undefined) throw refusal('REQUEST_INVALID', 'Content-Length beside Transfer-Encoding');
    if (transferEncoding.toLowerCase() === 'chunked') return CHUNKED;
    throw refusal('REQUEST_INVALID', `Transfer-Encoding is ${excerpt(transferEncoding)}. Send chunked alone`, 501);
  }
  if (contentLength === undefined) return NO_BODY;
  const bytes = parseDigits(contentLength);
  if (bytes === undefined) throw refusal('REQUEST_INVALID', `Content-Length is ${excerpt(contentLength)}`);
  return { kind: 'length', bytes };
}

/** An origin that switched to HTTP/2 in clear text would serve requests that the relay never saw. */
function withoutH2c(upgrade: string | undefined): string | undefined {
  if (upgrade === undefined || upgrade === 'websocket') return upgrade;
  if (!/h2c/i.test(upgrade)) return upgrade === '' ? undefined : upgrade;
  const kept = listMembers(upgrade).filter((protocol) => !protocol.startsWith('h2c'));
  return kept.length === 0 ? undefined : kept.join(', ');
}

function writeFraming(body: BodyFraming): string {
  if (body.kind === 'length') return `Content-Length: ${body.bytes}\r\n`;
  return body.kind === 'chunked' ? 'Transfer-Encoding: chunked\r\n' : '';
}

function writeConnection(head: RequestHead): string {
  if (head.keepAlive && head.upgrade === undefined && !head.acceptsTrailers) return '';
  const options: string[] = [];
  if (head.upgrade !== undefined) options.push('Upgrade');
  if (head.acceptsTrailers) options.push('TE');
  if (!head.keepAlive) options.push('close');
  const upgrade = head.upgrade === undefined ? '' : `Upgrade: ${head.upgrade}\r\n`;
  const te = head.acceptsTrailers ? 'TE: trailers\r\n' : '';
  return `Connection: ${options.join(', ')}\r\n${upgrade}${te}`;
}
