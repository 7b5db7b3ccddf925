/**
 * HeadBuffer: finds where a head ends, and bounds it before anybody reads it.
 *
 * Nearly every head arrives whole in one chunk: then one native search finds the blank line and one slice makes the text,
 * with no copy. Otherwise each byte is looked at once and copied once, whatever the size of the chunks, and a line that
 * ends in a bare LF is refused at once: its sender believes the head to be complete and would wait for ever.
 *
 * Owns: at most `headBytes` of an incomplete head, freed when it is complete. Owned by: one connection.
 */
import type { ErrorCode } from '../errors.js';
import { refusal } from './refusal.js';

/** How large a head may be. */
export interface HeadLimits {
  /** Bytes of start line, field lines and blank line together. */
  readonly headBytes: number;
  /** Field lines. */
  readonly fields: number;
}

const CR = 0x0d;
const LF = 0x0a;
const BLANK_LINE = Buffer.from('\r\n\r\n', 'latin1');
const NOTHING = Buffer.alloc(0);
/** RFC 9112 §2.2 asks a server to skip "at least one empty line"; more than a few is not a browser. */
const EMPTY_LINES = 4;
const FIRST_CAPACITY = 1024;

export class HeadBuffer {
  /** After `push`: the index in its chunk of the first byte that does not belong to the head. */
  next = 0;
  readonly #headBytes: number;
  readonly #code: ErrorCode;
  #held = NOTHING;
  #heldBytes = 0;
  /** How many bytes of CR LF CR LF the bytes seen so far end with. */
  #matched = 0;
  #emptyLines = 0;

  /** @param code of the errors: REQUEST_INVALID (431 when over the limit), or ORIGIN_INVALID where an origin sends the head */
  constructor(limits: HeadLimits, code: ErrorCode = 'REQUEST_INVALID') {
    this.#headBytes = limits.headBytes;
    this.#code = code;
  }

  /** True when some bytes of an incomplete head are held. */
  get partial(): boolean {
    return this.#heldBytes > 0;
  }

  /**
   * Takes bytes of `chunk` from `start` up to the end of the head. Returns the head as latin1 text without its final
   * CR LF CR LF once it is complete, else undefined. Empty lines before a request line are skipped (RFC 9112 §2.2).
   */
  push(chunk: Buffer, start: number): string | undefined {
    const from = this.#heldBytes <= 1 ? this.#skipEmptyLines(chunk, start) : start;
    if (this.#heldBytes > 0) return this.#pushSlowly(chunk, from);
    const end = chunk.indexOf(BLANK_LINE, from);
    if (end < 0) return this.#pushSlowly(chunk, from);
    this.next = end + BLANK_LINE.length;
    if (this.next - from > this.#headBytes) throw this.#tooLong();
    this.#emptyLines = 0;
    return chunk.toString('latin1', from, end);
  }

  /** Only a request line may have empty lines before it. A CR whose LF comes with the next chunk is held meanwhile. */
  #skipEmptyLines(chunk: Buffer, start: number): number {
    if (this.#code !== 'REQUEST_INVALID') return start;
    let from = start;
    if (this.#heldBytes === 1 && this.#held[0] === CR && chunk[from] === LF) {
      this.#forget();
      this.#countEmptyLine();
      from += 1;
    }
    while (this.#heldBytes === 0 && chunk[from] === CR && chunk[from + 1] === LF) {
      this.#countEmptyLine();
      from += 2;
    }
    return from;
  }

  #countEmptyLine(): void {
    this.#emptyLines += 1;
    if (this.#emptyLines > EMPTY_LINES)
      throw refusal(this.#code, `more than ${EMPTY_LINES} empty lines before the head`);
  }

  #pushSlowly(chunk: Buffer, from: number): string | undefined {
    const end = this.#findEnd(chunk, from);
    this.#hold(chunk, from, end);
    this.next = end;
    if (this.#matched < BLANK_LINE.length) return undefined;
    const head = this.#held.toString('latin1', 0, this.#heldBytes - BLANK_LINE.length);
    this.#forget();
    this.#emptyLines = 0;
    return head;
  }

  /** The index after the head's blank line, or the end of the chunk. */
  #findEnd(chunk: Buffer, from: number): number {
    let matched = this.#matched;
    let at = from;
    const end = Math.min(chunk.length, from + this.#headBytes - this.#heldBytes + 1);
    while (at < end && matched < BLANK_LINE.length) {
      const byte = chunk[at];
      if (byte === CR) matched = matched === 2 ? 3 : 1;
      else if (byte !== LF) matched = 0;
      else if (matched === 1 || matched === 3) matched += 1;
      else throw refusal(this.#code, 'a line ends in a bare LF');
      at += 1;
    }
    this.#matched = matched;
    return at;
  }

  #hold(chunk: Buffer, from: number, end: number): void {
    const bytes = this.#heldBytes + end - from;
    if (bytes > this.#headBytes) throw this.#tooLong();
    if (bytes > this.#held.length) this.#grow(bytes);
    chunk.copy(this.#held, this.#heldBytes, from, end);
    this.#heldBytes = bytes;
  }

  /** Doubles, so that all growing together copies each byte about once. */
  #grow(bytes: number): void {
    const capacity = Math.max(bytes, Math.min(this.#headBytes, Math.max(FIRST_CAPACITY, 2 * this.#held.length)));
    const larger = Buffer.allocUnsafe(capacity);
    this.#held.copy(larger, 0, 0, this.#heldBytes);
    this.#held = larger;
  }

  #forget(): void {
    this.#held = NOTHING;
    this.#heldBytes = 0;
    this.#matched = 0;
  }

  #tooLong(): Error {
    return refusal(this.#code, `head is over ${this.#headBytes} bytes`, 431);
  }
}
