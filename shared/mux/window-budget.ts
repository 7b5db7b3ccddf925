/**
 * WindowBudget: how much all windows of a session may grow together, over all its links. A window that grew is memory that a
 * visitor can make us hold by not reading, so the sum is bounded, whoever grows first. Nobody takes more than half of what is
 * left: two downloads must not have it all, and leave the small initial window to those who come after them.
 *
 * Owned by: whoever owns the links.
 */
export class WindowBudget {
  /** What windows may hold beyond their initial size. */
  readonly limitBytes: number;
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Takes up to `bytes`, and up to half of what is left; returns how much that was. */
  take(bytes: number): number {
    const leftBytes = this.limitBytes - this.#usedBytes;
    const taken = Math.max(0, Math.min(bytes, Math.floor(leftBytes / 2)));
    this.#usedBytes += taken;
    return taken;
  }

  /** Gives back what was taken. */
  giveBack(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}
