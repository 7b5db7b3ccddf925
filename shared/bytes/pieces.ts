/**
 * Pieces: bytes in a row that wait to be moved into a larger buffer. A piece is kept as it came and copied once, when it is
 * moved; borrowed bytes are copied at once, into blocks that go round.
 *
 * Owns: the blocks that it filled, until their bytes were moved. Owned by: a stream or a writer.
 */
import { BLOCK_BYTES, returnBlock, takeBlock } from './blocks.js';

/** A copy up to this size gets memory of its own: a block would be mostly empty. */
const SMALL_COPY_BYTES = 2 * 1024;

interface Piece {
  readonly bytes: Buffer;
  start: number;
  end: number;
  readonly isBlock: boolean;
}

export class Pieces {
  readonly #pieces: Piece[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#pieces.length;
  }

  /** The caller must not change the piece afterwards. */
  push(piece: Buffer): void {
    this.#pieces.push({ bytes: piece, start: 0, end: piece.length, isBlock: false });
    this.#bytes += piece.length;
  }

  /** The caller may use its memory again afterwards. */
  pushCopy(borrowed: Buffer): void {
    const last = this.#pieces.at(-1);
    if (borrowed.length <= SMALL_COPY_BYTES && last?.isBlock !== true) this.push(Buffer.from(borrowed));
    else this.#copyToBlocks(borrowed);
  }

  /** Moves exactly `bytes` (at most all) of the oldest bytes to `target` at `offset`. */
  moveTo(target: Buffer, offset: number, bytes: number): void {
    let left = bytes;
    let used = 0;
    while (left > 0) {
      const piece = this.#pieces[used];
      if (piece === undefined) break;
      const count = Math.min(left, piece.end - piece.start);
      piece.bytes.copy(target, offset + bytes - left, piece.start, piece.start + count);
      piece.start += count;
      left -= count;
      if (piece.start < piece.end) break;
      if (piece.isBlock) returnBlock(piece.bytes);
      used += 1;
    }
    if (used === this.#pieces.length) this.#pieces.length = 0;
    else if (used > 0) this.#pieces.splice(0, used);
    this.#bytes -= bytes;
  }

  /** The only piece, which is then gone from here; undefined when there is another number of them. */
  takeOnly(): Buffer | undefined {
    const [only] = this.#pieces;
    if (only === undefined || this.#pieces.length > 1 || only.isBlock) return undefined;
    this.clear();
    return only.start === 0 ? only.bytes : only.bytes.subarray(only.start);
  }

  clear(): void {
    for (const piece of this.#pieces) if (piece.isBlock) returnBlock(piece.bytes);
    this.#pieces.length = 0;
    this.#bytes = 0;
  }

  #copyToBlocks(borrowed: Buffer): void {
    let at = 0;
    while (at < borrowed.length) {
      const block = this.#blockWithRoom();
      const count = borrowed.copy(block.bytes, block.end, at);
      block.end += count;
      at += count;
    }
    this.#bytes += borrowed.length;
  }

  #blockWithRoom(): Piece {
    const last = this.#pieces.at(-1);
    if (last?.isBlock === true && last.end < BLOCK_BYTES) return last;
    const block = { bytes: takeBlock(), start: 0, end: 0, isBlock: true };
    this.#pieces.push(block);
    return block;
  }
}
