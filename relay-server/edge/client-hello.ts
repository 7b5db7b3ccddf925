/**
 * The TLS ClientHello (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2), read without answering it: decides for which hostname and
 * which protocol a visitor knocks, before any TLS work is spent on them.
 *
 * Only the outer hello is read; what Encrypted Client Hello hides stays hidden. Pure: the edge collects the bytes,
 * keeps the deadline and passes the same bytes on to TLS or through the tunnel afterwards.
 */
import { TunnelError } from '../../shared/errors.js';
import { hostnameOf } from '../../shared/hostname.js';

/** What a hello asks for. */
export interface ClientHello {
  /**
   * The hostname of the SNI extension in stored form (see hostname.ts). Undefined when there is none, and when it is no
   * hostname (an IP address, say): such a name cannot be a route, so it is answered like a missing one.
   */
  readonly serverName: string | undefined;
  /** The protocols offered by ALPN in the visitor's order, each byte as one character; GREASE values included. */
  readonly alpn: readonly string[];
}

/** What the start of a connection holds: not enough yet, or a ClientHello. */
export type ClientHelloRead = { readonly kind: 'more' } | ({ readonly kind: 'hello' } & ClientHello);

/** The longest ClientHello with its record headers. Browsers send 2 KiB with post-quantum keys. */
export const CLIENT_HELLO_LIMIT_BYTES = 16 * 1024;

/** The record that refuses a hostname nobody serves: fatal alert 112 (RFC 6066 §3). */
export const ALERT_UNRECOGNIZED_NAME: Buffer = fatalAlert(112);
/** The record that refuses bytes that are TLS and yet no valid hello: fatal alert 50 (RFC 8446 §6.2). */
export const ALERT_DECODE_ERROR: Buffer = fatalAlert(50);
/** The record for a hostname that is ours and cannot be served now: fatal alert 80 (RFC 8446 §6.2). */
export const ALERT_INTERNAL_ERROR: Buffer = fatalAlert(80);

const RECORD_HANDSHAKE = 22;
const RECORD_HEAD_BYTES = 5;
/** Records that one hello may be cut into. Each call walks them again, and honest clients use one or two. */
const RECORD_LIMIT = 64;
const TLS_MAJOR_VERSION = 3;
const HANDSHAKE_CLIENT_HELLO = 1;
const HANDSHAKE_HEAD_BYTES = 4;
const RANDOM_BYTES = 32;
const EXTENSION_SERVER_NAME = 0;
const EXTENSION_ALPN = 16;
const NAME_TYPE_HOST_NAME = 0;
/** SNI carries A-labels (RFC 6066 §3): other bytes are no name, rather than a name to convert. */
const NON_ASCII = /[\x80-\xff]/;

/**
 * Reads the ClientHello at the start of a connection; `bytes` is all that arrived so far, cheap to call again with more.
 * Throws REQUEST_INVALID as soon as the bytes cannot become a ClientHello of at most CLIENT_HELLO_LIMIT_BYTES.
 */
export function readClientHello(bytes: Buffer): ClientHelloRead {
  const handshake = joinRecords(bytes);
  if (handshake.length >= helloEnd(handshake)) {
    return { kind: 'hello', ...readHello(handshake.subarray(HANDSHAKE_HEAD_BYTES)) };
  }
  if (bytes.length >= CLIENT_HELLO_LIMIT_BYTES) throw tooLong();
  return { kind: 'more' };
}

/** True when the first bytes of a connection look like HTTP in clear: an answer in clear then helps the visitor. */
export function looksLikeHttp(bytes: Buffer): boolean {
  return /^[A-Z]{1,16}(?: |$)/.test(bytes.toString('latin1', 0, 17));
}

/** The handshake bytes that the records hold so far, at most up to the end of the hello. */
function joinRecords(bytes: Buffer): Buffer {
  const handshake = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  let at = 0;
  for (let records = 0; length < helloEnd(handshake.subarray(0, length)); records += 1) {
    const end = recordEnd(bytes, at);
    if (end === undefined) break;
    if (records === RECORD_LIMIT) throw refusal('it is cut into too many records');
    const announced = length + end - at - RECORD_HEAD_BYTES;
    length += bytes.copy(handshake, length, at + RECORD_HEAD_BYTES, end);
    if (announced > helloEnd(handshake.subarray(0, length))) throw refusal('other bytes follow it in its record');
    at = end;
  }
  return handshake.subarray(0, length);
}

/** Where the record at `at` ends, perhaps behind the bytes so far; undefined while its head is not complete. */
function recordEnd(bytes: Buffer, at: number): number | undefined {
  if (at < bytes.length && bytes[at] !== RECORD_HANDSHAKE) throw notHandshake(bytes, at);
  if (at + 1 < bytes.length && bytes[at + 1] !== TLS_MAJOR_VERSION) throw notHandshake(bytes, at);
  if (at + RECORD_HEAD_BYTES > bytes.length) return undefined;
  const length = bytes.readUInt16BE(at + 3);
  if (length === 0) throw refusal('a record is empty');
  const end = at + RECORD_HEAD_BYTES + length;
  if (end > CLIENT_HELLO_LIMIT_BYTES) throw tooLong();
  return end;
}

/** Where the hello ends within the handshake bytes; infinity while its head is not complete. */
function helloEnd(handshake: Buffer): number {
  const type = handshake[0];
  if (type !== undefined && type !== HANDSHAKE_CLIENT_HELLO) throw refusal(`handshake message ${type} came instead`);
  if (handshake.length < HANDSHAKE_HEAD_BYTES) return Number.POSITIVE_INFINITY;
  const end = HANDSHAKE_HEAD_BYTES + handshake.readUIntBE(1, 3);
  if (end > CLIENT_HELLO_LIMIT_BYTES) throw tooLong();
  return end;
}

function readHello(body: Buffer): ClientHello {
  const fields = new Fields(body);
  if (fields.number(2) >> 8 !== TLS_MAJOR_VERSION) throw refusal('its version is not TLS');
  fields.take(RANDOM_BYTES);
  fields.vector(1); // session id
  fields.vector(2); // cipher suites
  fields.vector(1); // compression methods
  const extensions = fields.left === 0 ? new Map<number, Fields>() : readExtensions(fields.vector(2));
  fields.done();
  return {
    serverName: readServerName(extensions.get(EXTENSION_SERVER_NAME)),
    alpn: readAlpn(extensions.get(EXTENSION_ALPN)),
  };
}

function readExtensions(list: Fields): Map<number, Fields> {
  const extensions = new Map<number, Fields>();
  while (list.left > 0) {
    const type = list.number(2);
    if (extensions.has(type)) throw refusal(`it has extension ${type} twice`);
    extensions.set(type, list.vector(2));
  }
  return extensions;
}

/** RFC 6066 §3: one host name; a list with anything else has no meaning that two programs would agree on. */
function readServerName(extension: Fields | undefined): string | undefined {
  if (extension === undefined) return undefined;
  const list = extension.vector(2);
  extension.done();
  if (list.number(1) !== NAME_TYPE_HOST_NAME) throw refusal('its server name is of an unknown type');
  const name = list.vector(2).text();
  list.done();
  return NON_ASCII.test(name) ? undefined : hostnameOf(name);
}

/** RFC 7301 §3.1: a list of at least one name, none of them empty. */
function readAlpn(extension: Fields | undefined): string[] {
  if (extension === undefined) return [];
  const list = extension.vector(2);
  extension.done();
  const names: string[] = [];
  do names.push(list.vector(1).text());
  while (list.left > 0);
  if (names.includes('')) throw refusal('it offers a protocol without a name');
  return names;
}

/** Takes fields from the front of a piece of the hello; a field that does not fit refuses the hello. */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Bytes not taken yet. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(length: number): Buffer {
    if (length > this.left) throw refusal('a field is longer than what holds it');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  number(size: 1 | 2): number {
    return this.take(size).readUIntBE(0, size);
  }

  /** A piece whose length stands before it in `size` bytes. */
  vector(size: 1 | 2): Fields {
    return new Fields(this.take(this.number(size)));
  }

  text(): string {
    return this.take(this.left).toString('latin1');
  }

  done(): void {
    if (this.left > 0) throw refusal('a field is shorter than what holds it');
  }
}

function fatalAlert(description: number): Buffer {
  return Buffer.of(21, 3, 3, 0, 2, 2, description);
}

function notHandshake(bytes: Buffer, at: number): TunnelError {
  if (at > 0) return refusal('another record interrupts it');
  if (looksLikeHttp(bytes)) return refusal('the visitor speaks HTTP without TLS', 'Use https:// in the address');
  return refusal('the visitor does not speak TLS');
}

function tooLong(): TunnelError {
  return refusal(`it is longer than ${CLIENT_HELLO_LIMIT_BYTES} bytes`);
}

function refusal(state: string, cure = 'Close the connection'): TunnelError {
  return new TunnelError('REQUEST_INVALID', `Cannot read ClientHello: ${state}. ${cure}.`);
}
