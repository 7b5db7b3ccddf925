/**
 * Pieces: bytes in a row that wait to be moved into a larger buffer. Each byte is copied once, when it is moved, and a
 * piece that is moved in parts is cut, not copied.
 */
export class Pieces {
  readonly #pieces: Buffer[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#pieces.length;
  }

  /** The only piece, when it is all there is: then nothing needs to be moved at all. */
  get only(): Buffer | undefined {
    return this.#pieces.length === 1 ? this.#pieces[0] : undefined;
  }

  /** The caller must not change the piece afterwards. */
  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  /** Moves exactly `bytes` (at most all) of the oldest bytes to `target` at `offset`. */
  moveTo(target: Buffer, offset: number, bytes: number): void {
    let at = offset;
    let left = bytes;
    let used = 0;
    while (left > 0) {
      const piece = this.#pieces[used];
      if (piece === undefined) break;
      const count = Math.min(left, piece.length);
      piece.copy(target, at, 0, count);
      at += count;
      left -= count;
      if (count < piece.length) this.#pieces[used] = piece.subarray(count);
      else used += 1;
    }
    if (used === this.#pieces.length) this.#pieces.length = 0;
    else if (used > 0) this.#pieces.splice(0, used);
    this.#bytes -= bytes;
  }

  clear(): void {
    this.#pieces.length = 0;
    this.#bytes = 0;
  }
}
