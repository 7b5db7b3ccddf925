/**
 * IP addresses: decides the one text form that we use for an address, and its bytes in wire formats.
 *
 * One visitor must have one name in limits, logs and headers, however its socket reported it: a dual-stack listener
 * says `::ffff:192.0.2.1`, a link-local peer carries a zone. Pure functions; owns nothing.
 */
import { isIPv4, isIPv6 } from 'node:net';

/** Bytes of an IPv4 address on the wire. */
export const IPV4_BYTES = 4;
/** Bytes of an IPv6 address on the wire. */
export const IPV6_BYTES = 16;

const IPV6_GROUPS = 8;
/** The first 12 bytes of an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2). */
const MAPPED_PREFIX = Buffer.from('00000000000000000000ffff', 'hex');
/** How sockets of a dual-stack listener show IPv4 visitors: the usual case, so it takes a short way. */
const MAPPED_START = '::ffff:';

/**
 * The text form of an address as we store and compare it: IPv4 dotted, IPv6 as in RFC 5952, IPv4-mapped IPv6 as IPv4,
 * no zone. Undefined when `text` is no address.
 */
export function plainAddress(text: string): string | undefined {
  if (isIPv4(text)) return text;
  if (text.startsWith(MAPPED_START) && isIPv4(text.slice(MAPPED_START.length))) return text.slice(MAPPED_START.length);
  const zone = text.indexOf('%');
  const address = zone < 0 ? text : text.slice(0, zone);
  if (!isIPv6(address)) return undefined;
  const bytes = Buffer.allocUnsafe(IPV6_BYTES);
  writeIpv6(address, bytes, 0);
  return readIpv6(bytes, 0);
}

/** The dotted text of the four bytes at `at`. */
export function readIpv4(bytes: Uint8Array, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/** The plain text (see `plainAddress`) of the sixteen bytes at `at`. */
export function readIpv6(bytes: Buffer, at: number): string {
  const isMapped = MAPPED_PREFIX.compare(bytes, at, at + MAPPED_PREFIX.length) === 0;
  if (isMapped) return readIpv4(bytes, at + MAPPED_PREFIX.length);
  const groups: number[] = [];
  for (let i = 0; i < IPV6_GROUPS; i += 1) groups.push(bytes.readUInt16BE(at + 2 * i));
  const zeros = longestZeroRun(groups);
  if (zeros.length < 2) return hexText(groups);
  return `${hexText(groups.slice(0, zeros.start))}::${hexText(groups.slice(zeros.start + zeros.length))}`;
}

/** Writes an IPv4 address that `plainAddress` returned. */
export function writeIpv4(address: string, into: Uint8Array, at: number): void {
  let i = at;
  for (const part of address.split('.')) {
    into[i] = Number(part);
    i += 1;
  }
}

/** Writes an IPv4 or IPv6 address that `plainAddress` returned as sixteen bytes: IPv4 becomes IPv4-mapped. */
export function writeIpv6(address: string, into: Buffer, at: number): void {
  if (!address.includes(':')) {
    into.set(MAPPED_PREFIX, at);
    writeIpv4(address, into, at + MAPPED_PREFIX.length);
    return;
  }
  const [head = '', tail] = address.split('::');
  into.fill(0, at, at + IPV6_BYTES);
  writeGroups(groupsOf(head), into, at);
  if (tail === undefined) return;
  const groups = groupsOf(tail);
  writeGroups(groups, into, at + IPV6_BYTES - 2 * groups.length);
}

/** An address that `plainAddress` returned as IPv6 text; IPv4 as mapped, in hexadecimal groups (no dotted tail). */
export function ipv6Text(address: string): string {
  return address.includes(':') ? address : `::ffff:${hexText(groupsOfIpv4(address))}`;
}

/** The 16-bit groups of one side of `::`; a dotted tail counts as two groups. */
function groupsOf(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((part) => (part.includes('.') ? groupsOfIpv4(part) : [Number.parseInt(part, 16)]));
}

function groupsOfIpv4(address: string): number[] {
  const bytes = Buffer.allocUnsafe(IPV4_BYTES);
  writeIpv4(address, bytes, 0);
  return [bytes.readUInt16BE(0), bytes.readUInt16BE(2)];
}

function writeGroups(groups: readonly number[], into: Buffer, at: number): void {
  groups.forEach((group, i) => {
    into.writeUInt16BE(group, at + 2 * i);
  });
}

/** The first of the longest runs of zero groups. */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  const longest = { start: 0, length: 0 };
  let length = 0;
  groups.forEach((group, i) => {
    length = group === 0 ? length + 1 : 0;
    if (length > longest.length) Object.assign(longest, { start: i + 1 - length, length });
  });
  return longest;
}

function hexText(groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(':');
}
