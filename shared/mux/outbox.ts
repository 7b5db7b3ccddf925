/**
 * Outbox: the batch that was given to the transport and not yet taken by the system. It decides when the transport has
 * enough: one batch is on its way at a time. More would only make later, smaller writes wait, and a socket that gets a
 * second write while the first is under way copies both together (docs/decisions.md). What becomes due meanwhile leaves
 * as one larger batch.
 *
 * Owns: the batch on its way. Owned by: MuxSession.
 */
import { returnBlock, takeBlock } from '../bytes/blocks.js';

/** Batches up to this size come from Node's own pool: they are not worth a block. */
const SMALL_BYTES = 4 * 1024;

/** What carries a session's bytes. */
export interface MuxTransport {
  /** Bytes at the start of each batch that the transport fills itself (its own framing). */
  readonly headroomBytes: number;
  /** The largest batch without headroom. At least HEADER_BYTES + 1, and with the headroom at most BLOCK_BYTES. */
  readonly batchBytes: number;
  /**
   * Sends whole frames: `batch` from `headroomBytes` on. The transport answers with `MuxSession.sent` once taken, and
   * does not touch the batch again: its memory is used for another one.
   */
  send(batch: Buffer): void;
}

export class Outbox {
  readonly #transport: MuxTransport;
  readonly #capacityBytes: number;
  /** The block beneath the batch that is being filled or on its way; undefined for a small one. */
  #block: Buffer | undefined;
  #bytes = 0;

  constructor(transport: MuxTransport) {
    this.#transport = transport;
    this.#capacityBytes = transport.headroomBytes + transport.batchBytes;
  }

  /** Bytes on their way. */
  get bytes(): number {
    return this.#bytes;
  }

  /** True while nothing more should be sent. */
  get full(): boolean {
    return this.#bytes > 0;
  }

  /** A batch with room for `bytes` of frames behind the headroom, or for less when that is more than a batch takes. */
  open(bytes: number): Buffer {
    const wanted = Math.min(this.#transport.headroomBytes + bytes, this.#capacityBytes);
    if (wanted <= SMALL_BYTES) return Buffer.allocUnsafe(wanted);
    this.#block = takeBlock();
    return this.#block.subarray(0, this.#capacityBytes);
  }

  /** Sends what stands in the batch before `end`. False when it is empty. */
  send(batch: Buffer, end: number): boolean {
    if (end === this.#transport.headroomBytes) {
      this.#release();
      return false;
    }
    this.#bytes = end;
    this.#transport.send(end === batch.length ? batch : batch.subarray(0, end));
    return true;
  }

  /** The system took the batch. */
  taken(): void {
    this.#bytes = 0;
    this.#release();
  }

  #release(): void {
    if (this.#block !== undefined) returnBlock(this.#block);
    this.#block = undefined;
  }
}
