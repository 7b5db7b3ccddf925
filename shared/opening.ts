/**
 * The Opening: the first bytes of a stream, by which the relay tells the client which tunnel is meant and who visits.
 *
 * It is a PROXY protocol version 2 header. The public facts use the TLVs of that standard, ours use its private range
 * (0xE0–0xEF), so a client can hand the header to an origin that asks for PROXY protocol once ours are taken out.
 * Pure; owns nothing. Written by the relay and read by the client once per visitor connection.
 */
import { TunnelError } from './errors.js';
import {
  type ProxyHeader,
  readProxyHeader,
  readTlvs,
  startProxyV2,
  TLV_ALPN,
  TLV_AUTHORITY,
  TLV_HEAD_BYTES,
  TLV_SSL,
  TLV_SSL_VERSION,
  type Tlv,
  writeProxyV1,
  writeProxyV2,
  writeTlvHead,
} from './proxy-protocol.js';

/** Which tunnel, and who visits. Texts are visible ASCII of at most `OPENING_TEXT_LIMIT_BYTES`; '' means none. */
export interface Opening {
  /** Name of the tunnel; never ''. */
  readonly tunnel: string;
  /** The visitor's address and port; '' and 0 when its socket closed before we could ask. */
  readonly visitorAddress: string;
  readonly visitorPort: number;
  /** The public address and port that the visitor connected to. */
  readonly publicAddress: string;
  readonly publicPort: number;
  /** The hostname that the visitor asked for (SNI or Host). */
  readonly authority: string;
  /**
   * The protocol agreed with the visitor, as ALPN names it: `http/1.1`, `h2`. Where bytes pass as the visitor sent them:
   * the first one that it offered.
   */
  readonly alpn: string;
  /** TLS version that the relay terminated, as Node names it: `TLSv1.3`. '' when bytes pass as the visitor sent them. */
  readonly tlsVersion: string;
  /** Request or connection id, the same in the logs of both programs. */
  readonly id: string;
  /** The request is followed: the client sends its verdict as soon as it has one. */
  readonly trace?: boolean;
}

/** What the start of a stream holds: not enough yet, or an Opening of `bytes` bytes. */
export type OpeningRead =
  | { readonly kind: 'more' }
  | { readonly kind: 'opening'; readonly opening: Opening; readonly header: ProxyHeader; readonly bytes: number };

/** Longest Opening on the wire; five texts and a mark at their limit fit. */
export const OPENING_LIMIT_BYTES = 2048;
/** Longest text in an Opening: a hostname of 255 bytes with its port, and room to spare. */
export const OPENING_TEXT_LIMIT_BYTES = 320;

const TLV_TUNNEL = 0xe0;
const TLV_ID = 0xe1;
const TLV_TRACE = 0xe2;
const TLV_PRIVATE_FIRST = 0xe0;
const TLV_PRIVATE_LAST = 0xef;

const TRACE_MARK = '1';
/** The SSL TLV before its own TLVs: a byte "came over TLS", a non-zero word "no verified certificate of the visitor". */
const SSL_HEAD = Buffer.of(0x01, 0, 0, 0, 1);
const TEXT_FIELDS = ['tunnel', 'id', 'authority', 'alpn', 'tlsVersion'] as const;
const TEXT = /^[\x21-\x7e]*$/;

/**
 * The bytes that open a stream. Throws INTERNAL when a text is not visible ASCII within its limit, or the tunnel is '':
 * the edge refuses such visitors before.
 */
export function writeOpening(opening: Opening): Buffer {
  for (const field of TEXT_FIELDS) if (!isOpeningText(opening[field])) throw unwritable(field);
  const { tunnel, authority, alpn, tlsVersion, id } = opening;
  if (!isTunnelName(tunnel)) throw unwritable('tunnel');
  const mark = opening.trace === true ? TRACE_MARK : '';
  const textsBytes = textBytes(tunnel) + textBytes(id) + textBytes(authority) + textBytes(alpn) + textBytes(mark);
  const tlvBytes = textsBytes + sslBytes(tlsVersion);
  const into = startProxyV2(addressesOf(opening), tlvBytes);
  let at = into.length - tlvBytes;
  at = writeText(into, at, TLV_TUNNEL, tunnel);
  at = writeText(into, at, TLV_ID, id);
  at = writeText(into, at, TLV_AUTHORITY, authority);
  at = writeText(into, at, TLV_ALPN, alpn);
  at = writeText(into, at, TLV_TRACE, mark);
  writeSsl(into, at, tlsVersion);
  return into;
}

/**
 * Reads the Opening at the start of a stream; `bytes` is all that arrived so far. `header` shares memory with `bytes`.
 * Throws PROTOCOL_VIOLATION as soon as the bytes cannot become an Opening.
 */
export function readOpening(bytes: Buffer): OpeningRead {
  const read = readProxyHeader(bytes, OPENING_LIMIT_BYTES);
  if (read.kind === 'more') return read;
  const { header } = read;
  const tlvs = byType(header.tlvs);
  const tunnel = readText(tlvs, TLV_TUNNEL);
  if (tunnel === '') throw unreadable('it names no tunnel');
  const opening: Opening = {
    tunnel,
    visitorAddress: header.sourceAddress,
    visitorPort: header.sourcePort,
    publicAddress: header.destinationAddress,
    publicPort: header.destinationPort,
    authority: readText(tlvs, TLV_AUTHORITY),
    alpn: readText(tlvs, TLV_ALPN),
    tlsVersion: readTlsVersion(tlvs),
    id: readText(tlvs, TLV_ID),
    ...(tlvs.has(TLV_TRACE) ? { trace: true } : {}),
  };
  return { kind: 'opening', opening, header, bytes: read.bytes };
}

/** What the streams of one HTTP/2 connection have in common, by which they share their turns; undefined for all others. */
export function sharedTurnsOf(
  visit: Pick<Opening, 'alpn' | 'tlsVersion' | 'visitorAddress' | 'visitorPort'>,
): string | undefined {
  const isOneOfMany = visit.alpn === 'h2' && visit.tlsVersion !== '';
  return isOneOfMany ? `${visit.visitorAddress} ${visit.visitorPort}` : undefined;
}

/** The header for an origin that asks for PROXY protocol: that of the Opening without our private TLVs. */
export function originProxyHeader(header: ProxyHeader, version: 'v1' | 'v2'): Buffer {
  if (version === 'v1') return writeProxyV1(header);
  const isPublic = (tlv: Tlv) => tlv.type < TLV_PRIVATE_FIRST || tlv.type > TLV_PRIVATE_LAST;
  return writeProxyV2({ ...header, tlvs: header.tlvs.filter(isPublic) });
}

function addressesOf(opening: Opening) {
  return {
    sourceAddress: opening.visitorAddress,
    sourcePort: opening.visitorPort,
    destinationAddress: opening.publicAddress,
    destinationPort: opening.publicPort,
  };
}

/** Whether a tunnel may be called so: the Opening of each of its streams carries the name. */
export function isTunnelName(text: string): boolean {
  return text !== '' && isOpeningText(text);
}

/** Whether an Opening can carry this text: visible ASCII of at most `OPENING_TEXT_LIMIT_BYTES`. */
export function isOpeningText(text: string): boolean {
  return text.length <= OPENING_TEXT_LIMIT_BYTES && TEXT.test(text);
}

function textBytes(text: string): number {
  return text === '' ? 0 : TLV_HEAD_BYTES + text.length;
}

function sslBytes(tlsVersion: string): number {
  return tlsVersion === '' ? 0 : TLV_HEAD_BYTES + SSL_HEAD.length + textBytes(tlsVersion);
}

function writeText(into: Buffer, at: number, type: number, text: string): number {
  if (text === '') return at;
  const start = writeTlvHead(into, at, type, text.length);
  return start + into.write(text, start, 'latin1');
}

function writeSsl(into: Buffer, at: number, tlsVersion: string): void {
  if (tlsVersion === '') return;
  const start = writeTlvHead(into, at, TLV_SSL, SSL_HEAD.length + textBytes(tlsVersion));
  into.set(SSL_HEAD, start);
  writeText(into, start + SSL_HEAD.length, TLV_SSL_VERSION, tlsVersion);
}

function byType(tlvs: readonly Tlv[]): Map<number, Buffer> {
  const values = new Map<number, Buffer>();
  for (const { type, value } of tlvs) {
    if (values.has(type)) throw unreadable(`it has two TLVs of type 0x${type.toString(16)}`);
    values.set(type, value);
  }
  return values;
}

function readText(tlvs: ReadonlyMap<number, Buffer>, type: number): string {
  const value = tlvs.get(type);
  if (value === undefined) return '';
  const text = value.toString('latin1');
  if (!isOpeningText(text)) throw unreadable(`its TLV of type 0x${type.toString(16)} is no text`);
  return text;
}

function readTlsVersion(tlvs: ReadonlyMap<number, Buffer>): string {
  const value = tlvs.get(TLV_SSL);
  if (value === undefined) return '';
  if (value.length < SSL_HEAD.length) throw unreadable('its SSL TLV is cut off');
  return readText(byType(readTlvs(value.subarray(SSL_HEAD.length))), TLV_SSL_VERSION);
}

function unwritable(field: keyof Opening): TunnelError {
  return new TunnelError(
    'INTERNAL',
    `Cannot write Opening: its ${field} is not visible ASCII of at most ${OPENING_TEXT_LIMIT_BYTES} bytes. Refuse the visitor.`,
  );
}

function unreadable(state: string): TunnelError {
  return new TunnelError('PROTOCOL_VIOLATION', `Cannot read Opening: ${state}. Close the link.`);
}
