/**
 * HeapTrace: how much JavaScript heap a Node process takes while it works, read from what `--trace-gc` says at each
 * collection: what was there before it, less what the collection before it had left.
 *
 * Owns: nothing. Owned by: the figure `allocations`.
 */

const MIB = 1024 * 1024;

/** `[411:0x…]  93 ms: Scavenge 8.6 (10.1) -> 7.9 (11.1) MB, …`; all collections look so. */
const COLLECTION = /^\[\d+:0x[0-9a-f]+\]\s+\d+ ms: .*?([\d.]+) \([\d.]+\) -> ([\d.]+) \([\d.]+\) MB/;

/** Flags for the Node whose lines are read. */
export const HEAP_TRACE_FLAGS = ['--trace-gc'] as const;

export class HeapTrace {
  #leftBytes: number | undefined;
  #allocatedBytes = 0;
  #collections = 0;

  /** Counted since the last `restart`, up to the last collection. */
  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  get collections(): number {
    return this.#collections;
  }

  /** Takes one line that the process said; lines about other things are passed over. */
  read(line: string): void {
    const [, before, after] = COLLECTION.exec(line) ?? [];
    if (before === undefined || after === undefined) return;
    if (this.#leftBytes !== undefined) {
      this.#allocatedBytes += Math.max(0, Number(before) * MIB - this.#leftBytes);
      this.#collections += 1;
    }
    this.#leftBytes = Number(after) * MIB;
  }

  /** Counts from zero, from the last collection on. */
  restart(): void {
    this.#allocatedBytes = 0;
    this.#collections = 0;
  }
}
