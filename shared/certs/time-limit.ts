/**
 * Time limits: decides how an act that waits for others ends when it takes too long or is no longer wanted. Owns a timer
 * for as long as the act runs.
 */
import { setTimeout as delay } from 'node:timers/promises';

/**
 * What `act` resolves with. Its signal fires with the caller's, or with `late()` after `ms`; the act then ends by itself,
 * so that it can tidy up, and this rejects with the signal's reason.
 */
export async function withTimeLimit<Result>(
  ms: number,
  late: () => Error,
  outer: AbortSignal | undefined,
  act: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const ended = new AbortController();
  const onOuterAbort = () => ended.abort(outer?.reason);
  if (outer?.aborted) throw outer.reason;
  outer?.addEventListener('abort', onOuterAbort, { once: true });
  const timer = setTimeout(() => ended.abort(late()), ms);
  try {
    return await act(ended.signal);
  } catch (error) {
    // What the signal interrupts fails in many ways; all of them mean the same.
    throw ended.signal.aborted ? ended.signal.reason : error;
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener('abort', onOuterAbort);
  }
}

/** What `wait` resolves with; rejects with the signal's reason as soon as it fires. */
export async function untilAborted<Result>(wait: Promise<Result>, signal: AbortSignal): Promise<Result> {
  let onAbort = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([wait, aborted]);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener('abort', onAbort);
    aborted.catch(() => {});
    wait.catch(() => {});
  }
}

/** Waits; rejects with the signal's reason as soon as it fires. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await untilAborted(delay(ms, undefined, { signal }), signal);
}
