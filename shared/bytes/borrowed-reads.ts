/**
 * BorrowedReads: how a TCP socket is read without memory of its own. Node makes a buffer of 64 KiB for each read; making
 * them and collecting them again is a tenth of what a download costs a client (docs/decisions.md). With `onread` the
 * system writes to one buffer of this process instead, whichever socket it reads. So bytes are only lent: whoever gets
 * them copies them before returning.
 *
 * Owned by: whoever made the socket; one for each.
 */
import type { OnReadOpts } from 'node:net';
import { BLOCK_BYTES } from './blocks.js';

/** Every socket with borrowed reads reads into it, one after the other. */
const lent = Buffer.allocUnsafeSlow(BLOCK_BYTES);

export class BorrowedReads {
  /** An option of `net.connect`. The socket has no 'data' events then; all else is as ever. */
  readonly onread: OnReadOpts = { buffer: lent, callback: (bytes) => this.#onRead(bytes) };
  /** Gets what is read; must be there before the socket is connected, or in its 'connect' event. */
  onBytes: (bytes: Buffer) => void = () => {};

  #onRead(bytes: number): boolean {
    this.onBytes(bytes === lent.length ? lent : lent.subarray(0, bytes));
    return true;
  }
}
