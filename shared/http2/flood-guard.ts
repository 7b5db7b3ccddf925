/**
 * FloodGuard: decides when an HTTP/2 connection says too much besides its requests.
 *
 * Two buckets that leak, so that a burst of a busy page passes and a flood does not:
 *   cut requests   requests that end before their response, whoever cuts them (CVE-2023-44487 "rapid reset",
 *                  CVE-2025-8671 "MadeYouReset"): each costs us a dial and its author nothing
 *   chatter        received bytes that belong to no request: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, CONTINUATION, empty
 *                  and padded DATA, frames of unknown types
 * Whoever overfills one loses the connection, and nobody else notices.
 *
 * Pure: numbers in, a verdict out. Owned by: Http2Connection.
 */

/** Cut requests beyond twice the number that may run at a time; a page with all its images is left in one burst. */
const CUTS_PER_STREAM = 2;
const CUTS_PER_SECOND = 33;

/** Chatter at once, and for ever. A reader says 26 bytes per 16 KiB that it takes, which `written` allows besides. */
const CHATTER_BYTES = 1024 * 1024;
const CHATTER_BYTES_PER_SECOND = 64 * 1024;
/** For each byte that we wrote, this much of a byte of chatter: readers of small messages answer each one. */
const CHATTER_PER_WRITTEN_BYTE = 1 / 4;

/** What a request costs on the wire beyond its text, and a piece of a body beyond its bytes. */
const OVERHEAD_BYTES = 64;

export class FloodGuard {
  readonly #cuts: Bucket;
  readonly #chatter: Bucket;
  #explainedBytes = 0;
  #receivedBytes = 0;

  /** @param streams how many requests the connection may have at a time */
  constructor(streams: number, nowMs: number) {
    this.#cuts = new Bucket(streams * CUTS_PER_STREAM, CUTS_PER_SECOND, nowMs);
    this.#chatter = new Bucket(CHATTER_BYTES, CHATTER_BYTES_PER_SECOND, nowMs);
  }

  /** A request was cut. False when that was one too many. */
  countCut(nowMs: number): boolean {
    return this.#cuts.add(1, nowMs);
  }

  /** A head of so many characters, or a piece of a body, was received: that is what connections are for. */
  explainReceived(bytes: number): void {
    this.#explainedBytes += bytes + OVERHEAD_BYTES;
  }

  /** A piece of a response was written: its reader will say so. */
  explainWritten(bytes: number): void {
    this.#explainedBytes += bytes * CHATTER_PER_WRITTEN_BYTE + OVERHEAD_BYTES;
  }

  /** @param receivedBytes on the connection so far, but for what waits. False when too many of them belong to nothing. */
  countReceived(receivedBytes: number, nowMs: number): boolean {
    const bytes = receivedBytes - this.#receivedBytes - this.#explainedBytes;
    this.#receivedBytes = receivedBytes;
    this.#explainedBytes = 0;
    return this.#chatter.add(Math.max(0, bytes), nowMs);
  }
}

/** Leaks `perSecond`, holds `capacity`. */
class Bucket {
  readonly #capacity: number;
  readonly #perSecond: number;
  #level = 0;
  #atMs: number;

  constructor(capacity: number, perSecond: number, nowMs: number) {
    this.#capacity = capacity;
    this.#perSecond = perSecond;
    this.#atMs = nowMs;
  }

  /** False when it runs over. */
  add(amount: number, nowMs: number): boolean {
    const leaked = ((nowMs - this.#atMs) / 1_000) * this.#perSecond;
    this.#atMs = nowMs;
    this.#level = Math.max(0, this.#level - leaked) + amount;
    return this.#level <= this.#capacity;
  }
}
