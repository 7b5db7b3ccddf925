/** Waits with an end: for an event that must come, and for a state that nobody announces. */
import { setTimeout as delay } from 'node:timers/promises';

/**
 * For what is waited for only so that a hang is told by its name. Far longer than it takes, because a machine that runs
 * other tests beside this one has pauses of seconds, and shorter than a drain (30 s), so that what waits for one is
 * late. A test gives its own time where less than this would be the fault.
 */
const PATIENCE_MS = 20_000;

/** For what must be noticed when it happens: the heartbeat, which would find it too, takes 9 s. */
export const AT_ONCE_MS = 5_000;
const LOOK_EVERY_MS = 10;

/** What the promise resolves with; rejects when that takes longer than `ms`. */
export async function within<T>(what: string, promise: Promise<T>, ms = PATIENCE_MS): Promise<T> {
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
  what: string,
  look: () => T | undefined | Promise<T | undefined>,
  ms = PATIENCE_MS,
): Promise<T> {
  const endAtMs = performance.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > endAtMs) throw new Error(`${what}: not within ${ms} ms`);
    await delay(LOOK_EVERY_MS);
  }
}
