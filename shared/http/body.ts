/**
 * Body: where a message body ends, and its bytes on the way (RFC 9112 §6–7).
 *
 * Payload is never copied: pieces are parts of the chunk that came in. In `framed` output a run of chunked bytes goes on
 * as it came, chunk sizes included, because every byte of the run has been checked by then; the run is broken only to
 * leave out extensions and trailers. So a chunked body costs one piece per read, not three per chunk.
 *
 * Owns: an incomplete trailer section (at most 4 KiB). Owned by: one exchange.
 */
import { type ErrorCode, TunnelError } from '../errors.js';
import { type FieldPairs, writeFieldLines } from './field-lines.js';
import { CHUNK_EXTENSION, classOf, hexDigit } from './grammar.js';
import { HeadBuffer } from './head-buffer.js';
import { hexByte, refusal } from './refusal.js';
import { readTrailers, TRAILER_LIMITS } from './trailers.js';

/** Where a body ends (RFC 9112 §6.3). */
export type BodyFraming =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until-close' };

export interface BodyOptions {
  /** `framed`: a chunked body stays chunked, without extensions. `payload`: its bytes alone. No difference for others. */
  readonly output: 'framed' | 'payload';
  /** Whether trailers go on, in `framed` output; those that could pass for framing, routing or ours never do. */
  readonly trailers: 'keep' | 'drop';
  /** Of the errors: REQUEST_INVALID or ORIGIN_INVALID. */
  readonly code: ErrorCode;
  /** Told of the trailers that may go on, in either output; not called where there are none. */
  readonly onTrailers?: (trailers: FieldPairs) => void;
}

/** Receives a piece of the body: part of the chunk that was read, or a small buffer of our own. */
export type BodySink = (piece: Buffer) => void;

export const NO_BODY: BodyFraming = { kind: 'none' };
export const CHUNKED: BodyFraming = { kind: 'chunked' };
export const UNTIL_CLOSE: BodyFraming = { kind: 'until-close' };

/** What follows the payload of a chunk. */
export const CHUNK_TAIL = Buffer.from('\r\n', 'latin1');
/** Ends a chunked body that has no trailers. */
export const LAST_CHUNK = Buffer.from('0\r\n\r\n', 'latin1');

const CR = 0x0d;
const LF = 0x0a;
const SEMICOLON = 0x3b;
/** 2^60; sizes above 2^53-1 are refused apart. */
const SIZE_DIGITS = 15;
const EXTENSION_BYTES = 256;
/** No run of bytes to hand on is open. */
const NO_RUN = -1;

/** What stands before the payload of a chunk of `bytes` bytes (at least one: an empty chunk would end the body). */
export function chunkHead(bytes: number): Buffer {
  if (bytes < 1) throw new TunnelError('INTERNAL', `Cannot frame a chunk of ${bytes} bytes`);
  return Buffer.from(`${bytes.toString(16)}\r\n`, 'latin1');
}

/** States of a chunked body name what comes next. */
type BodyState =
  | 'until-close'
  | 'length'
  | 'size'
  | 'extension'
  | 'size-lf'
  | 'data'
  | 'data-cr'
  | 'data-lf'
  | 'trailers-or-end'
  | 'trailers'
  | 'end-lf'
  | 'done';

export class BodyReader {
  readonly #options: BodyOptions;
  #state: BodyState;
  /** Bytes still to come: of the body (`length`) or of this chunk (`data`). In `size`: what its digits say so far. */
  #remaining = 0;
  /** Digits of this chunk's size, then bytes of its extension, seen so far. */
  #seen = 0;
  /** Where in the chunk being read the checked bytes begin that were not handed on yet. */
  #run = NO_RUN;
  #trailers: HeadBuffer | undefined;

  constructor(framing: BodyFraming, options: BodyOptions) {
    this.#options = options;
    this.#state = firstState(framing);
    if (framing.kind === 'length') this.#remaining = framing.bytes;
  }

  /** True once the whole body was read. */
  get done(): boolean {
    return this.#state === 'done';
  }

  /**
   * Reads body bytes of `chunk` from `start` and hands them on to `sink`. Returns the index of the first byte after the
   * body, or the length of the chunk when the body goes on. Throws TunnelError with the code of the options.
   */
  read(chunk: Buffer, start: number, sink: BodySink): number {
    if (this.#state === 'done') return start;
    if (this.#state === 'length') return this.#readLength(chunk, start, sink);
    if (this.#state !== 'until-close') return this.#readChunked(chunk, start, sink);
    handOn(chunk, start, chunk.length, sink);
    return chunk.length;
  }

  /** The sender ended its side. Throws TunnelError when the body is incomplete. */
  end(): void {
    if (this.#state === 'until-close') this.#state = 'done';
    if (this.#state === 'done') return;
    const missing = this.#state === 'length' ? `${this.#remaining} bytes before` : `in state ${this.#state} of`;
    throw this.#bad(`sender ended ${missing} the end of the body`);
  }

  #readLength(chunk: Buffer, start: number, sink: BodySink): number {
    const end = this.#take(chunk, start);
    handOn(chunk, start, end, sink);
    if (this.#remaining === 0) this.#state = 'done';
    return end;
  }

  /** Counts the bytes of `chunk` that are still payload. */
  #take(chunk: Buffer, start: number): number {
    const end = Math.min(chunk.length, start + this.#remaining);
    this.#remaining -= end - start;
    return end;
  }

  #readChunked(chunk: Buffer, start: number, sink: BodySink): number {
    let at = start;
    this.#run = this.#isRunning() ? at : NO_RUN;
    while (at < chunk.length && this.#state !== 'done') at = this.#step(chunk, at, sink);
    this.#endRun(chunk, at, sink);
    return at;
  }

  /** Reads as much as one state allows; returns the index of the first byte it left. */
  #step(chunk: Buffer, at: number, sink: BodySink): number {
    switch (this.#state) {
      case 'size':
        return this.#readSize(chunk, at, sink);
      case 'extension':
        return this.#skipExtension(chunk, at);
      case 'size-lf':
        this.#expect(chunk, at, LF, this.#remaining === 0 ? 'trailers-or-end' : 'data');
        return at + 1;
      case 'data':
        return this.#readData(chunk, at, sink);
      case 'data-cr':
        this.#expect(chunk, at, CR, 'data-lf');
        return at + 1;
      case 'data-lf':
        this.#expect(chunk, at, LF, 'size');
        this.#seen = 0;
        return at + 1;
      case 'trailers-or-end':
        return this.#readTrailersOrEnd(chunk, at, sink);
      case 'trailers':
        return this.#readTrailers(chunk, at, sink);
      default:
        this.#expect(chunk, at, LF, 'done');
        return at + 1;
    }
  }

  #readSize(chunk: Buffer, start: number, sink: BodySink): number {
    for (let at = start; at < chunk.length; at += 1) {
      const byte = chunk[at] ?? 0;
      const digit = hexDigit(byte);
      if (digit < 0) return this.#endSize(chunk, at, byte, sink);
      this.#seen += 1;
      this.#remaining = this.#remaining * 16 + digit;
      if (this.#seen > SIZE_DIGITS) throw this.#bad(`chunk size has more than ${SIZE_DIGITS} digits`);
    }
    return chunk.length;
  }

  #endSize(chunk: Buffer, at: number, byte: number, sink: BodySink): number {
    if (this.#seen === 0 || (byte !== CR && byte !== SEMICOLON)) throw this.#bad(`chunk size has ${hexByte(byte)}`);
    if (!Number.isSafeInteger(this.#remaining)) throw this.#bad('chunk size is over 2^53-1');
    if (byte === CR) {
      this.#state = 'size-lf';
      return at + 1;
    }
    this.#endRun(chunk, at, sink);
    this.#seen = 0;
    this.#state = 'extension';
    return at;
  }

  #skipExtension(chunk: Buffer, start: number): number {
    for (let at = start; at < chunk.length; at += 1) {
      const byte = chunk[at] ?? 0;
      if (byte === CR) {
        this.#state = 'size-lf';
        this.#run = at;
        return at + 1;
      }
      this.#seen += 1;
      if ((classOf(byte) & CHUNK_EXTENSION) === 0) throw this.#bad(`chunk extension has ${hexByte(byte)}`);
      if (this.#seen > EXTENSION_BYTES) throw this.#bad(`chunk extension is over ${EXTENSION_BYTES} bytes`);
    }
    return chunk.length;
  }

  #readData(chunk: Buffer, start: number, sink: BodySink): number {
    const end = this.#take(chunk, start);
    if (this.#options.output === 'payload') handOn(chunk, start, end, sink);
    if (this.#remaining === 0) this.#state = 'data-cr';
    return end;
  }

  #readTrailersOrEnd(chunk: Buffer, at: number, sink: BodySink): number {
    if (chunk[at] === CR) {
      this.#state = 'end-lf';
      return at + 1;
    }
    this.#endRun(chunk, at, sink);
    this.#state = 'trailers';
    this.#trailers = new HeadBuffer(TRAILER_LIMITS, this.#options.code);
    return at;
  }

  #readTrailers(chunk: Buffer, at: number, sink: BodySink): number {
    const trailers = this.#trailers;
    const text = trailers?.push(chunk, at);
    if (trailers === undefined || text === undefined) return chunk.length;
    const kept = readTrailers(text, this.#options.code);
    this.#trailers = undefined;
    this.#state = 'done';
    if (kept.names.length > 0) this.#options.onTrailers?.(kept);
    if (this.#options.output === 'framed') {
      const lines = this.#options.trailers === 'keep' ? writeFieldLines(kept.names, kept.values) : '';
      sink(Buffer.from(`${lines}\r\n`, 'latin1'));
    }
    return trailers.next;
  }

  /** States whose bytes go on as they are. */
  #isRunning(): boolean {
    return this.#options.output === 'framed' && this.#state !== 'extension' && this.#state !== 'trailers';
  }

  #endRun(chunk: Buffer, end: number, sink: BodySink): void {
    if (this.#run !== NO_RUN && this.#options.output === 'framed') handOn(chunk, this.#run, end, sink);
    this.#run = NO_RUN;
  }

  #expect(chunk: Buffer, at: number, byte: number, next: BodyState): void {
    const found = chunk[at] ?? 0;
    if (found !== byte) throw this.#bad(`chunk has ${hexByte(found)} where ${hexByte(byte)} belongs`);
    this.#state = next;
  }

  #bad(what: string): TunnelError {
    return refusal(this.#options.code, what);
  }
}

function firstState(framing: BodyFraming): BodyState {
  switch (framing.kind) {
    case 'none':
      return 'done';
    case 'length':
      return framing.bytes === 0 ? 'done' : 'length';
    case 'chunked':
      return 'size';
    case 'until-close':
      return 'until-close';
  }
}

function handOn(chunk: Buffer, start: number, end: number, sink: BodySink): void {
  if (start < end) sink(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end));
}
