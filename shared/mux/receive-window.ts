/**
 * ReceiveWindow: how much a peer may send on one stream before its reader has taken any of it. It decides when the peer is
 * given credit, and how large the window is: as large as a reader that keeps up needs on this path, and no larger, because
 * what a window holds is memory when its reader stops, and a queue in front of everybody else when the line is slow.
 *
 * Credit is given for what the reader took, never for what arrived. It comes in quarters of a window: with halves a sender
 * waits for the next piece of its window half of the time, and what limits it is hard to tell from a slow line.
 *
 * Owned by: MuxStream.
 */
import { INITIAL_WINDOW_BYTES } from './frame.js';

/** What part of a window is credited at a time. */
const CREDITS_PER_WINDOW = 4;

/**
 * A window that lasts for fewer round trips than this may be what limits the sender: one that does lasts for one, and a
 * third of another because of its credit. So windows hold two to four round trips, and a line is never short of bytes
 * while one is lost; with twice as much a light switch waits twice as long beside films.
 */
const ROUND_TRIPS = 2;

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
    if (this.#takenBytes * CREDITS_PER_WINDOW < this.#windowBytes) return 0;
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

  /**
   * Doubles the window when the reader takes it all in less than ROUND_TRIPS: then the window, and not the reader, may be
   * what limits the sender. A reader that stopped never gets here. Returns by how much it grew.
   */
  #grow(): number {
    if (this.#roundBytes * 2 < this.#windowBytes) return 0;
    const nowMs = performance.now();
    const isFirst = this.#roundAtMs === 0;
    const windowMs = ((nowMs - this.#roundAtMs) * this.#windowBytes) / this.#roundBytes;
    this.#roundAtMs = nowMs;
    this.#roundBytes = 0;
    if (isFirst || windowMs >= ROUND_TRIPS * this.#lender.leastRttMs) return 0;
    const grownBytes = this.#lender.borrowWindow(this.#windowBytes);
    this.#windowBytes += grownBytes;
    this.#borrowedBytes += grownBytes;
    return grownBytes;
  }
}
