/**
 * HeldBytes: what a visitor sent before it can be used: pipelined requests, bytes behind an Upgrade. At the limit the
 * visitor's socket is to be paused; what was read already is still held, so nothing is lost.
 *
 * The first piece is held as it is; later ones are copied together, because a visitor who sends single bytes must not
 * cost an object for each.
 */

/** Kept while an exchange runs. */
const LIMIT_BYTES = 64 * 1024;

const NOTHING = Buffer.alloc(0);

export class HeldBytes {
  /** Its first `#bytes` bytes are held; behind them is room. */
  #block: Buffer = NOTHING;
  #bytes = 0;

  get empty(): boolean {
    return this.#bytes === 0;
  }

  /** True when no more should be read for now. */
  get full(): boolean {
    return this.#bytes >= LIMIT_BYTES;
  }

  /** The caller must not change the piece afterwards. */
  add(piece: Buffer): void {
    if (this.#bytes === 0) {
      this.#block = piece;
    } else {
      if (this.#bytes + piece.length > this.#block.length) this.#grow(piece.length);
      piece.copy(this.#block, this.#bytes);
    }
    this.#bytes += piece.length;
  }

  /** All of it, in one piece; nothing is held afterwards. */
  take(): Buffer {
    const held = this.#block.subarray(0, this.#bytes);
    this.#block = NOTHING;
    this.#bytes = 0;
    return held;
  }

  /** Doubles, so that all growing together copies each byte about once. */
  #grow(bytes: number): void {
    const larger = Buffer.allocUnsafe(2 * this.#bytes + bytes);
    this.#block.copy(larger, 0, 0, this.#bytes);
    this.#block = larger;
  }
}
