/** Waits with an end: for an event that must come in time, and for a state that nobody announces. */
import { setTimeout as delay } from 'node:timers/promises';

const LOOK_EVERY_MS = 10;

/** What the promise resolves with; rejects when that takes longer than `ms`. */
export async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  const stop = new AbortController();
  const late = delay(ms, undefined, { signal: stop.signal }).then(() => {
    throw new Error(`${what}: not within ${ms} ms`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop.abort();
    late.catch(() => {});
  }
}

/** Looks again and again until `look` finds something other than undefined; rejects after `ms`. */
export async function until<T>(
  ms: number,
  what: string,
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const endAtMs = performance.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > endAtMs) throw new Error(`${what}: not within ${ms} ms`);
    await delay(LOOK_EVERY_MS);
  }
}
