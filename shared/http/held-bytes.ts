/**
 * HeldBytes: what a visitor sent before it can be used: pipelined requests, bytes behind an Upgrade. At the limit the
 * visitor's socket is to be paused; what was read already is still held, so nothing is lost.
 */

/** Kept while an exchange runs. */
const LIMIT_BYTES = 64 * 1024;

const NOTHING = Buffer.alloc(0);

export class HeldBytes {
  #pieces: Buffer[] = [];
  #bytes = 0;

  get empty(): boolean {
    return this.#bytes === 0;
  }

  /** True when no more should be read for now. */
  get full(): boolean {
    return this.#bytes >= LIMIT_BYTES;
  }

  add(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  /** All of it, in one piece; nothing is held afterwards. */
  take(): Buffer {
    const [first = NOTHING] = this.#pieces;
    const bytes = this.#pieces.length > 1 ? Buffer.concat(this.#pieces) : first;
    this.#pieces = [];
    this.#bytes = 0;
    return bytes;
  }
}
