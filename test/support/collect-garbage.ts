/** Garbage collection on demand, for tests that prove that something is let go. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const gc: () => void = runInNewContext('gc');

/** Collects until `done` says so; false when that never happens. */
export async function collectedUntil(done: () => boolean): Promise<boolean> {
  for (let round = 0; round < 20 && !done(); round += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    gc();
  }
  return done();
}
