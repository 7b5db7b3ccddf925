/**
 * Outbox: the batches that were given to the transport and not yet taken by the system. It decides when the transport
 * has enough, and what a batch costs in memory.
 *
 * A download would fill ten thousand batches a second. A new buffer for each is memory that only a garbage collection
 * frees, and collecting it all the time took a third of the CPU (bench/README.md). So large batches go round: once the
 * system has taken one it is filled again, by any session of this process. Small ones come from Node's own pool.
 *
 * Owns: batches on their way. Owned by: MuxSession.
 */

/** Bytes given to the transport and not yet taken by the system. More would only make later, smaller writes wait. */
const BACKLOG_BYTES = 256 * 1024;

/** Batches on their way, for when they are small: what comes next then waits and leaves as fewer, larger ones. */
const BACKLOG_BATCHES = 16;

/** Batches up to this size are not worth keeping. */
const SMALL_BYTES = 4 * 1024;

/** Spare batches of the whole process: what a few busy sessions have on their way. */
const MAX_SPARE = 16;
const spare: Buffer[] = [];

/** What carries a session's bytes. */
export interface MuxTransport {
  /** Bytes at the start of each batch that the transport fills itself (its own framing). */
  readonly headroomBytes: number;
  /** The largest batch without headroom. At least HEADER_BYTES + 1. */
  readonly batchBytes: number;
  /**
   * Sends whole frames: `batch` from `headroomBytes` on. The transport answers with `MuxSession.sent` once taken, and
   * does not touch the batch again: its memory is used for another one.
   */
  send(batch: Buffer): void;
}

interface SentBatch {
  readonly batch: Buffer;
  readonly bytes: number;
}

export class Outbox {
  readonly #transport: MuxTransport;
  readonly #capacityBytes: number;
  readonly #sent: SentBatch[] = [];
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
    return this.#bytes >= BACKLOG_BYTES || this.#sent.length >= BACKLOG_BATCHES;
  }

  /** A batch with room for `bytes` of frames behind the headroom, or for less when that is more than a batch takes. */
  open(bytes: number): Buffer {
    const wanted = Math.min(this.#transport.headroomBytes + bytes, this.#capacityBytes);
    return wanted <= SMALL_BYTES ? Buffer.allocUnsafe(wanted) : takeSpare(this.#capacityBytes);
  }

  /** Sends what stands in the batch before `end`. False when it is empty. */
  send(batch: Buffer, end: number): boolean {
    if (end === this.#transport.headroomBytes) {
      keepSpare(batch);
      return false;
    }
    this.#sent.push({ batch, bytes: end });
    this.#bytes += end;
    this.#transport.send(end === batch.length ? batch : batch.subarray(0, end));
    return true;
  }

  /** The system took the oldest batch. */
  taken(): void {
    const oldest = this.#sent.shift();
    if (oldest === undefined) return;
    this.#bytes -= oldest.bytes;
    keepSpare(oldest.batch);
  }
}

/** Transports of one process have batches of one size; where they do not, as in tests, the odd one is dropped. */
function takeSpare(bytes: number): Buffer {
  const batch = spare.pop();
  return batch?.length === bytes ? batch : Buffer.allocUnsafeSlow(bytes);
}

function keepSpare(batch: Buffer): void {
  if (batch.length > SMALL_BYTES && spare.length < MAX_SPARE) spare.push(batch);
}
