/**
 * DNS signatures (TSIG, RFC 8945): decides how a message proves that it comes from who has the key, and whether an answer
 * does. HMAC-SHA256 only, which every server of today has. Pure functions; own nothing.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Secret } from '../secret.js';
import { CLASS, type DnsRecord, readMessage, readName, TYPE, writeName, writeRecord } from './dns-message.js';

const ALGORITHM = 'hmac-sha256';
/** How far the two clocks may differ (RFC 8945 §10). */
const FUDGE_SECONDS = 300;

export interface DnsSigningKey {
  /** As the server knows it. */
  readonly name: string;
  /** base64. */
  readonly secret: Secret;
}

/** What a TSIG record says. */
interface Signature {
  readonly algorithm: string;
  /** Seconds since 1970. */
  readonly time: number;
  readonly fudge: number;
  readonly mac: Buffer;
  readonly originalId: number;
  readonly error: number;
  readonly other: Buffer;
}

/**
 * The message with a signature at its end.
 * @param nowSeconds since 1970.
 * @param priorMac of the request, when this is the answer to it.
 */
export function signMessage(
  message: Buffer,
  key: DnsSigningKey,
  nowSeconds: number,
  priorMac?: Buffer,
): { bytes: Buffer; mac: Buffer } {
  const id = message.readUInt16BE(0);
  const unsigned = { algorithm: ALGORITHM, time: nowSeconds, fudge: FUDGE_SECONDS, originalId: id, error: 0 };
  const mac = macOf(message, key, { ...unsigned, mac: Buffer.alloc(0), other: Buffer.alloc(0) }, priorMac);
  const data = signatureData({ ...unsigned, mac, other: Buffer.alloc(0) });
  const record = writeRecord({ name: key.name, type: TYPE.TSIG, class: CLASS.ANY, ttl: 0, data });
  return { bytes: withAdditionalCount(Buffer.concat([message, record]), 1), mac };
}

/**
 * What is wrong with a message's signature; undefined when it is good.
 * @param priorMac of the request that this answers.
 */
export function problemOfSignature(
  bytes: Buffer,
  key: DnsSigningKey,
  nowSeconds: number,
  priorMac?: Buffer,
): string | undefined {
  const record = readMessage(bytes).additional.at(-1);
  if (record === undefined || record.type !== TYPE.TSIG) return 'it is not signed';
  const signature = readSignature(record);
  if (record.name !== key.name.toLowerCase().replace(/\.$/, '')) return `it is signed by another key (${record.name})`;
  if (signature.error !== 0) return ERRORS.get(signature.error) ?? `TSIG error ${signature.error}`;
  if (signature.algorithm !== ALGORITHM) return `it is signed by ${signature.algorithm}`;
  const unsigned = withAdditionalCount(Buffer.from(bytes.subarray(0, record.offset)), -1);
  unsigned.writeUInt16BE(signature.originalId, 0);
  const mac = macOf(unsigned, key, signature, priorMac);
  if (mac.length !== signature.mac.length || !timingSafeEqual(mac, signature.mac)) return 'its signature is wrong';
  const isTimely = Math.abs(nowSeconds - signature.time) <= signature.fudge;
  return isTimely ? undefined : `its clock is ${Math.abs(nowSeconds - signature.time)} s off`;
}

const ERRORS: ReadonlyMap<number, string> = new Map([
  [16, 'it says that the key is wrong (BADSIG)'],
  [17, 'it does not know the key (BADKEY)'],
  [18, 'it says that our clock is wrong (BADTIME)'],
]);

/** RFC 8945 §4.3. */
function macOf(message: Buffer, key: DnsSigningKey, signature: Signature, priorMac: Buffer | undefined): Buffer {
  const hmac = createHmac('sha256', Buffer.from(key.secret.reveal(), 'base64'));
  if (priorMac) hmac.update(number(priorMac.length, 2)).update(priorMac);
  hmac.update(message).update(writeName(key.name)).update(number(CLASS.ANY, 2)).update(number(0, 4));
  hmac.update(writeName(signature.algorithm)).update(number(signature.time, 6)).update(number(signature.fudge, 2));
  return hmac
    .update(number(signature.error, 2))
    .update(number(signature.other.length, 2))
    .update(signature.other)
    .digest();
}

function signatureData({ algorithm, time, fudge, mac, originalId, error, other }: Signature): Buffer {
  const begin = [writeName(algorithm), number(time, 6), number(fudge, 2), number(mac.length, 2), mac];
  return Buffer.concat([...begin, number(originalId, 2), number(error, 2), number(other.length, 2), other]);
}

/** @throws {RangeError} for bytes that are no signature. */
function readSignature({ data }: DnsRecord): Signature {
  const { name: algorithm, end } = readName(data, 0);
  const macEnd = end + 10 + data.readUInt16BE(end + 8);
  const other = data.subarray(macEnd + 6);
  if (data.readUInt16BE(macEnd + 4) !== other.length) throw new RangeError('a TSIG record has another length');
  return {
    algorithm,
    time: data.readUIntBE(end, 6),
    fudge: data.readUInt16BE(end + 6),
    mac: data.subarray(end + 10, macEnd),
    originalId: data.readUInt16BE(macEnd),
    error: data.readUInt16BE(macEnd + 2),
    other,
  };
}

function withAdditionalCount(message: Buffer, change: number): Buffer {
  message.writeUInt16BE(message.readUInt16BE(10) + change, 10);
  return message;
}

function number(value: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
}
