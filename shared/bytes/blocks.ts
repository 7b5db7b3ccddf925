/**
 * Blocks: large buffers that go round. A download fills ten thousand of them a second; a new one for each would be memory
 * that only a garbage collection frees, and collecting it all the time took a third of the CPU (bench/README.md). Whoever
 * takes a block gives it back when the system has taken its bytes; one that is not given back is garbage like any other.
 *
 * Owns: the spare blocks of the process.
 */

/** Four full TLS records: enough that a write costs little per byte, and little enough that the next one waits briefly. */
export const BLOCK_BYTES = 64 * 1024;

/** What a few busy connections have on their way. */
const MAX_SPARE = 32;
const spare: Buffer[] = [];

/** A block of BLOCK_BYTES with undefined content. */
export function takeBlock(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
}

/** Gives a block back; nobody may look at it any more. */
export function returnBlock(block: Buffer): void {
  if (spare.length < MAX_SPARE) spare.push(block);
}
