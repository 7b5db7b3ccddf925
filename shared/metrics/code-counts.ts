/**
 * CodeCounts: how often something failed or ended, by code of the error table. The table is what bounds it.
 */
import type { ErrorCode } from '../errors.js';

export class CodeCounts {
  readonly #counts = new Map<ErrorCode, number>();

  /** When the newest one happened, in milliseconds since 1970. */
  newest: { readonly code: ErrorCode; readonly atMs: number } | undefined;

  count(code: ErrorCode): void {
    this.newest = { code, atMs: Date.now() };
    this.#counts.set(code, (this.#counts.get(code) ?? 0) + 1);
  }

  /** Codes that happened, with how often. */
  get all(): Readonly<Partial<Record<ErrorCode, number>>> {
    return Object.fromEntries(this.#counts);
  }

  /** The same, one by one. */
  entries(): IterableIterator<[code: ErrorCode, count: number]> {
    return this.#counts.entries();
  }
}
