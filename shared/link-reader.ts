/**
 * LinkReader: decides whose the bytes of a link are. The payload of whole binary messages is the mux's and goes there as
 * it came, in pieces, before anybody has waited for the end of a message; every other frame is left to `ws`, unchanged.
 *
 * Why not leave all of them to ws: it passes each chunk through a Writable and joins the parts of a message in a new
 * buffer, and the mux needs neither (docs/decisions.md says what it costs). What is not plain is not judged here:
 * fragments, reserved bits, a wrong mask, lengths beyond 16 bits are ws's to take or to refuse.
 *
 * Pure; holds at most one header (RFC 6455 §5.2). Owned by: Link.
 */

/** Who gets the bytes. Pieces may share the memory of the chunk that was read. */
export interface LinkReaderOwner {
  /** Payload of binary messages, unmasked. */
  onBytes(piece: Buffer): void;
  /** Frames of every other kind, with their headers, in pieces. */
  onOther(piece: Buffer): void;
}

const FIN = 0x80;
const OPCODE = 0x0f;
const OPCODE_BINARY = 0x2;
const OPCODE_CLOSE = 0x8;
const WHOLE_BINARY = FIN | OPCODE_BINARY;

const MASKED = 0x80;
const LENGTH = 0x7f;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
const MASK_BYTES = 4;
const LONGEST_HEADER_BYTES = 14;
const NOTHING = Buffer.alloc(0);

export class LinkReader {
  readonly #owner: LinkReaderOwner;
  /** Clients mask, relays do not (RFC 6455 §5.1). */
  readonly #maskBit: number;
  #state: 'header' | 'bytes' | 'other' | 'over' = 'header';
  /** A header that began at the end of a chunk. */
  readonly #header = Buffer.alloc(LONGEST_HEADER_BYTES);
  #headerBytes = 0;
  #payloadLeft = 0;
  /** Of the message that is being read; undefined when it changes nothing. */
  #mask: Buffer | undefined;
  #maskAt = 0;
  /** ws has begun to read a fragmented message: the frames up to its end are ws's. */
  #inFragments = false;
  #isClose = false;

  /** @param role of this end */
  constructor(owner: LinkReaderOwner, role: 'relay' | 'client') {
    this.#owner = owner;
    this.#maskBit = role === 'relay' ? MASKED : 0;
  }

  /** Reads bytes of the connection, split anywhere; masked ones are changed in place. Ignores what follows a close frame. */
  read(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && this.#state !== 'over') {
      at = this.#state === 'header' ? this.#readHeader(chunk, at) : this.#readPayload(chunk, at);
    }
  }

  /** Gives nothing more to anybody, not even the rest of the chunk that is being read. */
  stop(): void {
    this.#state = 'over';
  }

  #readHeader(chunk: Buffer, at: number): number {
    if (this.#headerBytes === 0 && chunk.length - at >= LONGEST_HEADER_BYTES) {
      const bytes = headerLength(chunk, at);
      this.#begin(chunk, at, bytes);
      return at + bytes;
    }
    this.#header[this.#headerBytes] = chunk[at] ?? 0;
    this.#headerBytes += 1;
    if (this.#headerBytes > 1 && this.#headerBytes === headerLength(this.#header, 0)) {
      this.#headerBytes = 0;
      this.#begin(this.#header, 0, headerLength(this.#header, 0));
    }
    return at + 1;
  }

  /** A frame whose header of `bytes` bytes stands at `at`. */
  #begin(header: Buffer, at: number, bytes: number): void {
    const first = header.readUInt8(at);
    const second = header.readUInt8(at + 1);
    this.#payloadLeft = payloadLength(header, at);
    const isPlain = (second & MASKED) === this.#maskBit && (second & LENGTH) !== LENGTH_64;
    if (first === WHOLE_BINARY && isPlain && !this.#inFragments) {
      this.#state = 'bytes';
      if (this.#maskBit !== 0) this.#setMask(header, at + bytes - MASK_BYTES);
      // An empty message is one as well: where none is expected, it breaks the protocol.
      if (this.#payloadLeft === 0) this.#owner.onBytes(NOTHING);
    } else {
      this.#state = 'other';
      this.#noteKind(first);
      // A copy: the header's place is used again before ws has looked at it.
      this.#owner.onOther(Buffer.from(header.subarray(at, at + bytes)));
    }
    if (this.#payloadLeft === 0) this.#endFrame();
  }

  #noteKind(first: number): void {
    const opcode = first & OPCODE;
    this.#isClose = opcode === OPCODE_CLOSE;
    if (opcode < OPCODE_CLOSE) this.#inFragments = (first & FIN) === 0;
  }

  #setMask(header: Buffer, at: number): void {
    const changes = header.readInt32BE(at) !== 0;
    this.#mask = changes ? Buffer.from(header.subarray(at, at + MASK_BYTES)) : undefined;
    this.#maskAt = 0;
  }

  #readPayload(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#payloadLeft);
    const piece = chunk.subarray(at, end);
    this.#payloadLeft -= piece.length;
    if (this.#state === 'other') {
      this.#owner.onOther(piece);
    } else {
      if (this.#mask !== undefined) this.#unmask(piece, this.#mask);
      this.#owner.onBytes(piece);
    }
    if (this.#payloadLeft === 0) this.#endFrame();
    return end;
  }

  #unmask(piece: Buffer, mask: Buffer): void {
    for (let at = 0; at < piece.length; at += 1) {
      piece[at] = (piece[at] ?? 0) ^ (mask[(this.#maskAt + at) % MASK_BYTES] ?? 0);
    }
    this.#maskAt = (this.#maskAt + piece.length) % MASK_BYTES;
  }

  #endFrame(): void {
    if (this.#state === 'over') return;
    this.#state = this.#isClose ? 'over' : 'header';
  }
}

function headerLength(header: Buffer, at: number): number {
  const second = header.readUInt8(at + 1);
  const length = second & LENGTH;
  const lengthBytes = length === LENGTH_16 ? 2 : length === LENGTH_64 ? 8 : 0;
  return 2 + lengthBytes + ((second & MASKED) === 0 ? 0 : MASK_BYTES);
}

function payloadLength(header: Buffer, at: number): number {
  const length = header.readUInt8(at + 1) & LENGTH;
  if (length === LENGTH_16) return header.readUInt16BE(at + 2);
  return length === LENGTH_64 ? Number(header.readBigUInt64BE(at + 2)) : length;
}
