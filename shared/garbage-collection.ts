/**
 * GarbageCollection: makes V8 free the memory of dead buffers when it finds them dead.
 *
 * By default another thread does that later, and until then V8 takes them for memory in use. A tunnel makes and drops
 * a buffer for every 16 to 64 KiB that it carries, so V8 believes that memory is short and searches the whole heap, two
 * hundred times per GiB: a third of the CPU time of a download on Node 20 and 22 (bench/README.md). When they are freed
 * at once, the short collections of young objects suffice.
 */
import { setFlagsFromString } from 'node:v8';

/** Call it once, before the program carries anything. */
export function freeBuffersAtOnce(): void {
  setFlagsFromString('--no-concurrent-array-buffer-sweeping');
}
