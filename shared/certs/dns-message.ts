/**
 * DNS messages: decides the bytes of the few that we send and the parts of answers that we read (RFC 1035, RFC 2136).
 * Names are written without compression. The reader checks every length, follows compression only backwards, and takes
 * messages from servers that we chose and from anybody who answers in their place. Pure functions; own nothing.
 */

export const TYPE = { CNAME: 5, SOA: 6, TXT: 16, TSIG: 250 } as const;
export const CLASS = { IN: 1, NONE: 254, ANY: 255 } as const;

const HEADER_BYTES = 12;
const OPCODE_UPDATE = 5;
const MAX_NAME_BYTES = 255;
const MAX_LABEL_BYTES = 63;
const MAX_STRING_BYTES = 255;
const MAX_RECORDS = 512;

export interface DnsRecord {
  /** Lower-case, without the last dot; labels as Latin-1. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** Seconds. */
  readonly ttl: number;
  readonly data: Buffer;
  /** Where the record begins in its message. */
  readonly offset: number;
}

export interface DnsMessage {
  readonly id: number;
  /** Second and third byte pair of the header: QR, opcode, AA, TC, RD, RA, RCODE. */
  readonly flags: number;
  readonly rcode: number;
  readonly questions: readonly { readonly name: string; readonly type: number; readonly class: number }[];
  readonly answers: readonly DnsRecord[];
  readonly authority: readonly DnsRecord[];
  readonly additional: readonly DnsRecord[];
}

/** What is asked or changed: a name, a type, a class. */
export interface DnsKey {
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

/** A question to a server that is authoritative for the name. */
export function writeQuery(id: number, question: DnsKey): Buffer {
  return Buffer.concat([header(id, 0, [1, 0, 0, 0]), keyBytes(question)]);
}

/** An update (RFC 2136 §2) of one zone. */
export function writeUpdate(id: number, zone: string, changes: readonly Omit<DnsRecord, 'offset'>[]): Buffer {
  const records = changes.map(writeRecord);
  const zoneBytes = keyBytes({ name: zone, type: TYPE.SOA, class: CLASS.IN });
  return Buffer.concat([header(id, OPCODE_UPDATE << 11, [1, 0, changes.length, 0]), zoneBytes, ...records]);
}

/** One record, as in any section. */
export function writeRecord(record: Omit<DnsRecord, 'offset'>): Buffer {
  const fixed = Buffer.alloc(6);
  fixed.writeUInt32BE(record.ttl, 0);
  fixed.writeUInt16BE(record.data.length, 4);
  return Buffer.concat([keyBytes(record), fixed, record.data]);
}

/** A name in wire form, lower-case. @throws {RangeError} for a label or name that is too long or empty. */
export function writeName(name: string): Buffer {
  const labels = name.replace(/\.$/, '').toLowerCase().split('.');
  const pieces = name === '' || name === '.' ? [] : labels.map((label) => labelBytes(label));
  const bytes = Buffer.concat([...pieces, Buffer.from([0])]);
  if (bytes.length > MAX_NAME_BYTES) throw new RangeError('a DNS name has at most 255 bytes');
  return bytes;
}

/** The data of a TXT record with this text. */
export function writeText(text: string): Buffer {
  const bytes = Buffer.from(text);
  const strings: Buffer[] = [];
  for (let begin = 0; begin < bytes.length || begin === 0; begin += MAX_STRING_BYTES) {
    const piece = bytes.subarray(begin, begin + MAX_STRING_BYTES);
    strings.push(Buffer.from([piece.length]), piece);
  }
  return Buffer.concat(strings);
}

/** @throws {RangeError} for bytes that are no message. */
export function readMessage(bytes: Buffer): DnsMessage {
  const counts = [4, 6, 8, 10].map((offset) => bytes.readUInt16BE(offset));
  if (counts.reduce((sum, count) => sum + count, 0) > MAX_RECORDS)
    throw new RangeError('a DNS message has too many records');
  const [questionCount = 0, ...sectionCounts] = counts;
  let offset = HEADER_BYTES;
  const questions = Array.from({ length: questionCount }, () => {
    const { key, end } = readKey(bytes, offset);
    offset = end;
    return key;
  });
  const [answers = [], authority = [], additional = []] = sectionCounts.map((count) =>
    Array.from({ length: count }, () => {
      const { record, end } = readRecordAt(bytes, offset);
      offset = end;
      return record;
    }),
  );
  const flags = bytes.readUInt16BE(2);
  return { id: bytes.readUInt16BE(0), flags, rcode: flags & 0xf, questions, answers, authority, additional };
}

/** A name and where the bytes after it begin. @throws {RangeError} for bytes that are no name. */
export function readName(bytes: Buffer, offset: number): { name: string; end: number } {
  const labels: string[] = [];
  let end: number | undefined;
  let length = 0;
  for (let at = offset; ; ) {
    const size = bytes.readUInt8(at);
    if (size === 0) return { name: labels.join('.').toLowerCase(), end: end ?? at + 1 };
    if (size >= 0xc0) {
      const target = bytes.readUInt16BE(at) & 0x3fff;
      // Backwards only, so that it ends.
      if (target >= at) throw new RangeError('a DNS name points forwards');
      end ??= at + 2;
      at = target;
      // A chain of pointers and a label that contains one could still go round: the length ends it.
      length += 1;
    } else {
      if (size > MAX_LABEL_BYTES || at + 1 + size > bytes.length) throw new RangeError('a DNS label is too long');
      labels.push(bytes.toString('latin1', at + 1, at + 1 + size));
      at += 1 + size;
      length += 1 + size;
    }
    if (length > MAX_NAME_BYTES) throw new RangeError('a DNS name is too long');
  }
}

function readKey(bytes: Buffer, offset: number): { key: DnsKey; end: number } {
  const { name, end } = readName(bytes, offset);
  return { key: { name, type: bytes.readUInt16BE(end), class: bytes.readUInt16BE(end + 2) }, end: end + 4 };
}

function readRecordAt(bytes: Buffer, offset: number): { record: DnsRecord; end: number } {
  const { key, end } = readKey(bytes, offset);
  const begin = end + 6;
  const after = begin + bytes.readUInt16BE(end + 4);
  if (after > bytes.length) throw new RangeError('a DNS record is longer than its message');
  return { record: { ...key, ttl: bytes.readUInt32BE(end), data: bytes.subarray(begin, after), offset }, end: after };
}

function header(id: number, flags: number, counts: readonly number[]): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  for (const [index, value] of [id, flags, ...counts].entries()) bytes.writeUInt16BE(value, 2 * index);
  return bytes;
}

function keyBytes(key: DnsKey): Buffer {
  const fixed = Buffer.alloc(4);
  fixed.writeUInt16BE(key.type, 0);
  fixed.writeUInt16BE(key.class, 2);
  return Buffer.concat([writeName(key.name), fixed]);
}

function labelBytes(label: string): Buffer {
  const bytes = Buffer.from(label, 'latin1');
  if (bytes.length === 0 || bytes.length > MAX_LABEL_BYTES) throw new RangeError('a DNS label has 1 to 63 bytes');
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}
