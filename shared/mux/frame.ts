/**
 * The yamux frame: 12 bytes of header, then (for Data) the payload. No I/O and no state but the reader's position.
 *
 * Wire format: hashicorp/yamux spec.md, version 0. All integers are big-endian:
 *   version(8) type(8) flags(16) streamId(32) length(32)
 * `length` is the payload size (Data), the credit (WindowUpdate), an opaque value (Ping) or a reason (GoAway).
 */
import { TunnelError } from '../errors.js';

export const HEADER_BYTES = 12;

export const TYPE_DATA = 0;
export const TYPE_WINDOW_UPDATE = 1;
export const TYPE_PING = 2;
export const TYPE_GO_AWAY = 3;

export const FLAG_SYN = 1;
export const FLAG_ACK = 2;
export const FLAG_FIN = 4;
export const FLAG_RST = 8;
const KNOWN_FLAGS = FLAG_SYN | FLAG_ACK | FLAG_FIN | FLAG_RST;

export const GO_AWAY_NORMAL = 0;
export const GO_AWAY_PROTOCOL_ERROR = 1;
export const GO_AWAY_INTERNAL_ERROR = 2;

/** What every stream may send before the first WindowUpdate, in each direction (spec: "Flow Control"). */
export const INITIAL_WINDOW_BYTES = 256 * 1024;

/** A window never exceeds what `length` can carry. */
export const MAX_WINDOW_BYTES = 0xffff_ffff;

/** Writes one header at `offset` and returns the offset behind it. */
export function writeHeader(
  target: Buffer,
  offset: number,
  type: number,
  flags: number,
  streamId: number,
  length: number,
): number {
  // Byte stores: three times as fast as writeUInt32BE, and this runs for every frame.
  target[offset] = 0;
  target[offset + 1] = type;
  target[offset + 2] = 0;
  target[offset + 3] = flags;
  writeUint32(target, offset + 4, streamId);
  writeUint32(target, offset + 8, length);
  return offset + HEADER_BYTES;
}

function writeUint32(target: Buffer, offset: number, value: number): void {
  target[offset] = value >>> 24;
  target[offset + 1] = value >>> 16;
  target[offset + 2] = value >>> 8;
  target[offset + 3] = value;
}

/** Who is told about frames. Payload arrives in pieces, as the transport delivers it: nothing is reassembled. */
export interface FrameReceiver {
  /** A header. For Data with `length` > 0, `onPayload` follows until all of it was given. */
  onFrame(type: number, flags: number, streamId: number, length: number): void;
  /** A piece of the newest Data frame's payload; `last` with the final one. */
  onPayload(piece: Buffer, last: boolean): void;
}

/**
 * Reads frames from chunks that may be split anywhere. Iterative: a chunk of a million frames uses no more stack
 * than one. Holds at most one header.
 */
export class FrameReader {
  readonly #receiver: FrameReceiver;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  #payloadLeft = 0;
  #stopped = false;

  constructor(receiver: FrameReceiver) {
    this.#receiver = receiver;
  }

  /** Gives nothing more to the receiver, not even the rest of the chunk that is being read. */
  stop(): void {
    this.#stopped = true;
  }

  /** Throws PROTOCOL_VIOLATION at an unknown version, type or flag. */
  read(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#stopped) {
      at = this.#payloadLeft > 0 ? this.#readPayload(chunk, at) : this.#readHeader(chunk, at);
    }
  }

  #readPayload(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#payloadLeft);
    this.#payloadLeft -= end - at;
    const whole = at === 0 && end === chunk.length;
    this.#receiver.onPayload(whole ? chunk : chunk.subarray(at, end), this.#payloadLeft === 0);
    return end;
  }

  #readHeader(chunk: Buffer, at: number): number {
    if (this.#headerBytes === 0 && chunk.length - at >= HEADER_BYTES) {
      this.#dispatch(chunk, at);
      return at + HEADER_BYTES;
    }
    const take = Math.min(HEADER_BYTES - this.#headerBytes, chunk.length - at);
    chunk.copy(this.#header, this.#headerBytes, at, at + take);
    this.#headerBytes += take;
    if (this.#headerBytes === HEADER_BYTES) {
      this.#headerBytes = 0;
      this.#dispatch(this.#header, 0);
    }
    return at + take;
  }

  #dispatch(header: Buffer, at: number): void {
    const version = header.readUInt8(at);
    const type = header.readUInt8(at + 1);
    const flags = header.readUInt16BE(at + 2);
    if (version !== 0) throw violation(`version ${version}`);
    if (type > TYPE_GO_AWAY) throw violation(`type ${type}`);
    if ((flags & ~KNOWN_FLAGS) !== 0) throw violation(`flags 0x${flags.toString(16)}`);
    const length = header.readUInt32BE(at + 8);
    if (type === TYPE_DATA) this.#payloadLeft = length;
    this.#receiver.onFrame(type, flags, header.readUInt32BE(at + 4), length);
  }
}

function violation(what: string): TunnelError {
  return new TunnelError('PROTOCOL_VIOLATION', `Cannot read frame: unknown ${what}`);
}
