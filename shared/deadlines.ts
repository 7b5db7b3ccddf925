/**
 * Deadlines: one coarse clock for everything that may not wait for ever. Ten thousand connections cost one timer and a
 * comparison each per tick, and moving a deadline is an assignment: no timer is made or moved per request.
 *
 * Owns: one interval. Owned by: the process's composition root (relay.ts, the client).
 */

/** How often it ticks; half of how late a deadline may be noticed. */
export const TICK_MS = 250;

/** Something with a deadline of its own. */
export interface Watched {
  /** Called about every TICK_MS with the time of the monotonic clock. May unwatch itself. */
  onTick(nowMs: number): void;
}

export class Deadlines {
  /** Where a new deadline counts from, in milliseconds of the monotonic clock: the next tick, so that none is early. */
  nowMs = performance.now() + TICK_MS;
  readonly #watched = new Set<Watched>();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  watch(item: Watched): void {
    this.#watched.add(item);
  }

  unwatch(item: Watched): void {
    this.#watched.delete(item);
  }

  /** Safe any number of times. */
  close(): void {
    clearInterval(this.#timer);
    this.#watched.clear();
  }

  #tick(): void {
    const nowMs = performance.now();
    this.nowMs = nowMs + TICK_MS;
    for (const item of this.#watched) item.onTick(nowMs);
  }
}
