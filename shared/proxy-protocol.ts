/**
 * The PROXY protocol, versions 1 (text) and 2 (binary), as HAProxy's proxy-protocol.txt defines it: decides what a
 * header at the start of a connection says, and how we write one. Pure; owns nothing.
 *
 * Three places use it: the edge behind another proxy reads it, the client writes it for an origin that asks, and every
 * Opening is one (see opening.ts). A header decides whom we believe a visitor to be, so nothing doubtful is accepted.
 */
import { isIPv4 } from 'node:net';
import { TunnelError } from './errors.js';
import {
  IPV4_BYTES,
  IPV6_BYTES,
  ipv6Text,
  plainAddress,
  readIpv4,
  readIpv6,
  writeIpv4,
  writeIpv6,
} from './ip-address.js';

/** One type-length-value element of a version 2 header (§2.2). */
export interface Tlv {
  readonly type: number;
  /** A view of the bytes that were read, not a copy. */
  readonly value: Buffer;
}

/** Who talks to whom; '' and 0 where the sender did not know. Addresses are in the form of `plainAddress`. */
export interface ProxyAddresses {
  readonly sourceAddress: string;
  readonly sourcePort: number;
  readonly destinationAddress: string;
  readonly destinationPort: number;
}

/** A PROXY protocol header of either version. */
export interface ProxyHeader extends ProxyAddresses {
  /** `local`: the proxy speaks for itself (a health check); `proxy`: for the visitor at `sourceAddress`. */
  readonly command: 'proxy' | 'local';
  /** In the order of the wire; always empty in version 1. */
  readonly tlvs: readonly Tlv[];
}

/** What the start of a connection holds: not enough yet, or a header of `bytes` bytes. */
export type ProxyRead =
  | { readonly kind: 'more' }
  | { readonly kind: 'header'; readonly header: ProxyHeader; readonly bytes: number };

/** The longest header that we read, unless the caller allows less. Real ones stay below 600 bytes. */
export const PROXY_HEADER_LIMIT_BYTES = 4096;

/** TLV types (§2.2). */
export const TLV_ALPN = 0x01;
export const TLV_AUTHORITY = 0x02;
export const TLV_CRC32C = 0x03;
export const TLV_SSL = 0x20;
export const TLV_SSL_VERSION = 0x21;

/** Bytes of a TLV before its value. */
export const TLV_HEAD_BYTES = 3;

const V1_LIMIT_BYTES = 107;
const V1_START = Buffer.from('PROXY ');
const V2_SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const V2_HEAD_BYTES = 16;
const V2_VERSION_LOCAL = 0x20;
const V2_VERSION_PROXY = 0x21;
/** What follows the signature of a LOCAL header: no family, no block. */
const V2_LOCAL = Buffer.of(V2_VERSION_LOCAL, 0, 0, 0);
/** Bytes of the address block by address family: unspecified, IPv4, IPv6, Unix. */
const V2_ADDRESS_BYTES = [0, 2 * IPV4_BYTES + 4, 2 * IPV6_BYTES + 4, 2 * 108] as const;
const V2_LAST_TRANSPORT = 2;
const V2_TCP_OVER_IPV4 = 0x11;
const V2_TCP_OVER_IPV6 = 0x21;

const MORE = { kind: 'more' } as const;
const UNKNOWN: ProxyAddresses = { sourceAddress: '', sourcePort: 0, destinationAddress: '', destinationPort: 0 };

/**
 * Reads the header at the start of a connection; `bytes` is all that arrived so far.
 * Throws PROTOCOL_VIOLATION as soon as the bytes cannot become a header of at most `maxBytes`.
 */
export function readProxyHeader(bytes: Buffer, maxBytes: number = PROXY_HEADER_LIMIT_BYTES): ProxyRead {
  return bytes[0] === V2_SIGNATURE[0] ? readV2(bytes, maxBytes) : readV1(bytes, Math.min(maxBytes, V1_LIMIT_BYTES));
}

/** Version 1 (§2.1): one line of text. Has no TLVs; unknown addresses and `local` become UNKNOWN. */
export function writeProxyV1(header: ProxyHeader): Buffer {
  const ends = header.command === 'local' ? undefined : endsOf(header);
  if (ends === undefined) return Buffer.from('PROXY UNKNOWN\r\n');
  const ports = `${header.sourcePort} ${header.destinationPort}`;
  const { source, destination } = ends;
  if (ends.family === 4) return Buffer.from(`PROXY TCP4 ${source} ${destination} ${ports}\r\n`);
  return Buffer.from(`PROXY TCP6 ${ipv6Text(source)} ${ipv6Text(destination)} ${ports}\r\n`);
}

/** Version 2 (§2.2) with its TLVs, except a checksum: that was right only for the bytes it came with. */
export function writeProxyV2(header: ProxyHeader): Buffer {
  if (header.command === 'local') return Buffer.concat([V2_SIGNATURE, V2_LOCAL]);
  const tlvs = header.tlvs.filter((tlv) => tlv.type !== TLV_CRC32C);
  const tlvBytes = tlvs.reduce((sum, tlv) => sum + TLV_HEAD_BYTES + tlv.value.length, 0);
  const into = startProxyV2(header, tlvBytes);
  let at = into.length - tlvBytes;
  for (const tlv of tlvs) {
    at = writeTlvHead(into, at, tlv.type, tlv.value.length);
    into.set(tlv.value, at);
    at += tlv.value.length;
  }
  return into;
}

/**
 * A version 2 header (command `proxy`) whose last `tlvBytes` bytes are the caller's to fill with TLVs. An IPv4 and an
 * IPv6 address together travel as IPv6; addresses that are not both known, as unspecified.
 */
export function startProxyV2(addresses: ProxyAddresses, tlvBytes: number): Buffer {
  const ends = endsOf(addresses);
  const addressBytes = V2_ADDRESS_BYTES[ends === undefined ? 0 : ends.family === 4 ? 1 : 2];
  const into = Buffer.allocUnsafe(V2_HEAD_BYTES + addressBytes + tlvBytes);
  into.set(V2_SIGNATURE, 0);
  into[12] = V2_VERSION_PROXY;
  into[13] = ends === undefined ? 0 : ends.family === 4 ? V2_TCP_OVER_IPV4 : V2_TCP_OVER_IPV6;
  into.writeUInt16BE(into.length - V2_HEAD_BYTES, 14);
  if (ends !== undefined) writeAddressBlock(into, ends, addresses);
  return into;
}

/** Writes type and length of a TLV; returns where its value goes. */
export function writeTlvHead(into: Buffer, at: number, type: number, valueBytes: number): number {
  into[at] = type;
  return into.writeUInt16BE(valueBytes, at + 1);
}

/** Reads TLVs that fill `bytes` exactly. Throws PROTOCOL_VIOLATION when one does not fit. */
export function readTlvs(bytes: Buffer): Tlv[] {
  const tlvs: Tlv[] = [];
  let at = 0;
  while (at < bytes.length) {
    const start = at + TLV_HEAD_BYTES;
    const end = start <= bytes.length ? start + bytes.readUInt16BE(at + 1) : Number.POSITIVE_INFINITY;
    if (end > bytes.length) throw refusal('a TLV is cut off');
    tlvs.push({ type: bytes.readUInt8(at), value: bytes.subarray(start, end) });
    at = end;
  }
  return tlvs;
}

function readV1(bytes: Buffer, maxBytes: number): ProxyRead {
  if (!startsLike(bytes, V1_START)) throw refusal('the connection starts with something else');
  const line = bytes.subarray(0, maxBytes);
  const end = line.findIndex((byte) => byte === 0x0d || byte === 0x0a);
  if (end < 0 && bytes.length < maxBytes) return MORE;
  if (end < 0 || line[end] === 0x0a || end + 1 === maxBytes) throw refusal('the line has no proper end');
  if (end + 1 === line.length) return MORE;
  if (line[end + 1] !== 0x0a) throw refusal('the line has no proper end');
  return { kind: 'header', header: readV1Line(line.toString('latin1', V1_START.length, end)), bytes: end + 2 };
}

function readV1Line(text: string): ProxyHeader {
  if (text === 'UNKNOWN' || text.startsWith('UNKNOWN ')) return { command: 'proxy', ...UNKNOWN, tlvs: [] };
  const [family = '', source = '', destination = '', sourcePort = '', destinationPort = '', ...rest] = text.split(' ');
  if (rest.length > 0) throw refusal('the line has more than six words');
  return {
    command: 'proxy',
    sourceAddress: readV1Address(family, source),
    sourcePort: readV1Port(sourcePort),
    destinationAddress: readV1Address(family, destination),
    destinationPort: readV1Port(destinationPort),
    tlvs: [],
  };
}

function readV1Address(family: string, text: string): string {
  const isFamily = family === (isIPv4(text) ? 'TCP4' : 'TCP6') && !text.includes('%');
  const address = isFamily ? plainAddress(text) : undefined;
  if (address === undefined) throw refusal('the line has no address of its family');
  return address;
}

function readV1Port(text: string): number {
  const port = /^(?:0|[1-9]\d{0,4})$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
  if (port > 65_535) throw refusal('the line has no valid port');
  return port;
}

function readV2(bytes: Buffer, maxBytes: number): ProxyRead {
  if (!startsLike(bytes, V2_SIGNATURE)) throw refusal('the connection starts with something else');
  const command = bytes.length > 12 ? readV2Command(bytes.readUInt8(12)) : undefined;
  if (command === undefined || bytes.length < V2_HEAD_BYTES) return MORE;
  const end = V2_HEAD_BYTES + bytes.readUInt16BE(14);
  if (end > maxBytes) throw refusal(`it has ${end} bytes, the limit is ${maxBytes}`);
  if (bytes.length < end) return MORE;
  // A LOCAL header's family and block mean nothing (§2.2), so they are not even checked.
  if (command === 'local') return { kind: 'header', header: { command, ...UNKNOWN, tlvs: [] }, bytes: end };
  return { kind: 'header', header: readV2Block(bytes.readUInt8(13), bytes.subarray(V2_HEAD_BYTES, end)), bytes: end };
}

function readV2Command(byte: number): ProxyHeader['command'] {
  if (byte === V2_VERSION_PROXY) return 'proxy';
  if (byte === V2_VERSION_LOCAL) return 'local';
  throw refusal(`version and command are 0x${byte.toString(16)}`);
}

function readV2Block(family: number, block: Buffer): ProxyHeader {
  const addressBytes = V2_ADDRESS_BYTES[family >> 4];
  if (addressBytes === undefined || (family & 15) > V2_LAST_TRANSPORT) throw refusal('its address family is unknown');
  if (block.length < addressBytes) throw refusal('its addresses are cut off');
  const addresses = readV2Addresses(family, block);
  return { command: 'proxy', ...addresses, tlvs: readTlvs(block.subarray(addressBytes)) };
}

/** Families that no visitor of ours can have (Unix, datagram) count as unspecified, as §2.2 asks. */
function readV2Addresses(family: number, block: Buffer): ProxyAddresses {
  if (family !== V2_TCP_OVER_IPV4 && family !== V2_TCP_OVER_IPV6) return UNKNOWN;
  const read = family === V2_TCP_OVER_IPV4 ? readIpv4 : readIpv6;
  const size = family === V2_TCP_OVER_IPV4 ? IPV4_BYTES : IPV6_BYTES;
  return {
    sourceAddress: read(block, 0),
    sourcePort: block.readUInt16BE(2 * size),
    destinationAddress: read(block, size),
    destinationPort: block.readUInt16BE(2 * size + 2),
  };
}

interface Ends {
  /** The family that can carry both addresses. */
  readonly family: 4 | 6;
  readonly source: string;
  readonly destination: string;
}

/** Both addresses in plain form; undefined when one of them is not known. */
function endsOf(addresses: ProxyAddresses): Ends | undefined {
  if (addresses.sourceAddress === '' || addresses.destinationAddress === '') return undefined;
  const source = knownAddress(addresses.sourceAddress);
  const destination = knownAddress(addresses.destinationAddress);
  return { family: isIPv4(source) && isIPv4(destination) ? 4 : 6, source, destination };
}

function knownAddress(text: string): string {
  const address = plainAddress(text);
  if (address !== undefined) return address;
  throw new TunnelError(
    'INTERNAL',
    `Cannot write PROXY header: "${text}" is no IP address. Give '' for an unknown one.`,
  );
}

function writeAddressBlock(into: Buffer, ends: Ends, ports: ProxyAddresses): void {
  const write = ends.family === 4 ? writeIpv4 : writeIpv6;
  const size = ends.family === 4 ? IPV4_BYTES : IPV6_BYTES;
  write(ends.source, into, V2_HEAD_BYTES);
  write(ends.destination, into, V2_HEAD_BYTES + size);
  into.writeUInt16BE(ports.sourcePort, V2_HEAD_BYTES + 2 * size);
  into.writeUInt16BE(ports.destinationPort, V2_HEAD_BYTES + 2 * size + 2);
}

/** True when `bytes` is `start`, begins with it, or may still become it. */
function startsLike(bytes: Buffer, start: Buffer): boolean {
  const known = Math.min(bytes.length, start.length);
  return bytes.compare(start, 0, known, 0, known) === 0;
}

function refusal(state: string): TunnelError {
  return new TunnelError(
    'PROTOCOL_VIOLATION',
    `Cannot read PROXY header: ${state}. Let only a proxy that sends version 1 or 2 connect here.`,
  );
}
