/**
 * Waiting: the bytes of a stream whose handler is paused. Decides what they cost: never much more memory than they are,
 * although they arrive as views of whatever chunk the transport read. A piece of a larger chunk is copied, so that it
 * does not keep the rest alive, and small pieces share one block: a window of single bytes costs a window.
 *
 * Owned by: MuxStream.
 */

/** Small pieces are joined up to this size. */
const BLOCK_BYTES = 16 * 1024;

/** Pieces from this size on that fill most of their chunk are kept as they are: what a TLS record brings is not copied. */
const KEPT_BYTES = 4 * 1024;

export class Waiting {
  readonly #pieces: Buffer[] = [];
  /** The block behind the newest piece, when that piece is a copy that may grow. */
  #block: Buffer | undefined;

  get empty(): boolean {
    return this.#pieces.length === 0;
  }

  push(piece: Buffer): void {
    const fillsItsChunk = piece.length * 2 >= piece.buffer.byteLength;
    if (fillsItsChunk && piece.length >= KEPT_BYTES) {
      this.#block = undefined;
      this.#pieces.push(piece);
    } else {
      this.#copy(piece);
    }
  }

  /** The oldest piece. */
  shift(): Buffer | undefined {
    const piece = this.#pieces.shift();
    if (this.#pieces.length === 0) this.#block = undefined;
    return piece;
  }

  clear(): void {
    this.#pieces.length = 0;
    this.#block = undefined;
  }

  #copy(piece: Buffer): void {
    const usedBytes = this.#pieces.at(-1)?.length ?? 0;
    const bytes = usedBytes + piece.length;
    if (this.#block === undefined || bytes > BLOCK_BYTES) {
      // Not Buffer.from: it cuts from a pool, of 64 KiB since Node 24, and a piece that waits would keep all of it.
      this.#block = Buffer.allocUnsafeSlow(piece.length);
      piece.copy(this.#block);
      this.#pieces.push(this.#block);
      return;
    }
    if (bytes > this.#block.length) this.#block = enlarged(this.#block, usedBytes, bytes);
    piece.copy(this.#block, usedBytes);
    this.#pieces[this.#pieces.length - 1] = this.#block.subarray(0, bytes);
  }
}

/** Twice what is needed: joining stays linear, and a short request in a short block. */
function enlarged(block: Buffer, usedBytes: number, bytes: number): Buffer {
  const larger = Buffer.allocUnsafeSlow(Math.min(2 * bytes, BLOCK_BYTES));
  block.copy(larger, 0, 0, usedBytes);
  return larger;
}
