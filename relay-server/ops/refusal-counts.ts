/**
 * RefusalCounts: how many visitors, claims and handshakes were refused, by code of the error table. One place, so that
 * nothing is refused without being counted.
 */
import type { ErrorCode } from '../../shared/errors.js';

export class RefusalCounts {
  readonly #counts = new Map<ErrorCode, number>();

  count(code: ErrorCode): void {
    this.#counts.set(code, (this.#counts.get(code) ?? 0) + 1);
  }

  /** Codes that happened, with how often. */
  get all(): Readonly<Partial<Record<ErrorCode, number>>> {
    return Object.fromEntries(this.#counts);
  }
}
