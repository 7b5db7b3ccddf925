/**
 * ReceiveWindow: how much a peer may send on one stream before its reader has taken any of it. It decides when the peer is
 * given credit, and how large the window is: as large as a reader that keeps up needs on this path, and no larger, because
 * what a window holds is memory when its reader stops, and a queue in front of everybody else when the line is slow.
 *
 * Credit is given for what the reader took, never for what arrived, and in pieces. What waits for the next piece is of no
 * use to the sender: grown windows, which are there to fill a long line, come in quarters. The initial window comes in
 * halves: on a slow line it is large enough as it is, and all of it is a queue.
 *
 * Owned by: MuxStream.
 */
import { INITIAL_WINDOW_BYTES } from './frame.js';

/** The least credit. */
const LEAST_CREDIT_BYTES = INITIAL_WINDOW_BYTES / 2;

/**
 * A window is what limits the sender when its usable part, all but one credit, lasts for one round trip; timers, losses and
 * uneven arrival ask for half of one more. So a grown window holds two to four round trips. With more of them a light
 * switch waits longer beside films.
 */
const ROUND_TRIPS = 1.5;

/** Where a window grows from: limits are the lender's. */
export interface WindowLender {
  /** The round trip of the path itself in milliseconds, without queues; 0 while unknown. */
  readonly leastRttMs: number;
  /** By how much a window of `windowBytes` may grow now (0 when a limit is reached); that much is borrowed. */
  borrowWindow(windowBytes: number): number;
  /** Gives back what was borrowed. */
  returnWindow(bytes: number): void;
}

export class ReceiveWindow {
  readonly #lender: WindowLender;
  #windowBytes = INITIAL_WINDOW_BYTES;
  #roomBytes = INITIAL_WINDOW_BYTES;
  /** Taken by the reader since the last credit. */
  #takenBytes = 0;
  /** Taken since the window last grew or was found large enough, and since when. */
  #roundBytes = 0;
  #roundAtMs = 0;
  #borrowedBytes = 0;

  constructor(lender: WindowLender) {
    this.#lender = lender;
  }

  /** What the peer may still send. */
  get roomBytes(): number {
    return this.#roomBytes;
  }

  /** The peer sends this much, `roomBytes` at most. */
  fill(bytes: number): void {
    this.#roomBytes -= bytes;
  }

  /** The reader took this much. Returns the credit that the peer must get now; 0: none yet. */
  take(bytes: number): number {
    this.#takenBytes += bytes;
    if (this.#takenBytes < this.#creditBytes) return 0;
    this.#roundBytes += this.#takenBytes;
    const credit = this.#takenBytes + this.#grow();
    this.#takenBytes = 0;
    this.#roomBytes += credit;
    return credit;
  }

  /** The stream is over. */
  release(): void {
    this.#lender.returnWindow(this.#borrowedBytes);
    this.#borrowedBytes = 0;
  }

  /** How much is credited at a time. */
  get #creditBytes(): number {
    return Math.max(LEAST_CREDIT_BYTES, this.#windowBytes / 4);
  }

  /**
   * Doubles the window when its usable part lasts for less than ROUND_TRIPS: then the window, and not the reader or the
   * line, may be what limits the sender. A reader that stopped never gets here. Returns by how much it grew.
   */
  #grow(): number {
    if (this.#roundBytes * 2 < this.#windowBytes) return 0;
    const nowMs = performance.now();
    const isFirst = this.#roundAtMs === 0;
    const usableBytes = this.#windowBytes - this.#creditBytes;
    const usableMs = ((nowMs - this.#roundAtMs) * usableBytes) / this.#roundBytes;
    this.#roundAtMs = nowMs;
    this.#roundBytes = 0;
    if (isFirst || usableMs >= ROUND_TRIPS * this.#lender.leastRttMs) return 0;
    const grownBytes = this.#lender.borrowWindow(this.#windowBytes);
    this.#windowBytes += grownBytes;
    this.#borrowedBytes += grownBytes;
    return grownBytes;
  }
}
