/**
 * Ledger: what became of every request of a soak, and which failures a fault explains. It decides what counts as a loss:
 *
 *   good         the right bytes came
 *   wrong        an orderly answer with other bytes: never excused
 *   unanswered   neither an answer nor an error until the deadline: never excused
 *   failed       an error, or an answer that says so (502, 503, 504): excused only while a fault explains it
 *
 * Owns: counts, and the few failures that nothing excuses. Owned by: main.ts.
 */
export interface FaultWindow {
  readonly name: string;
  readonly fromMs: number;
  /** Infinity while it lasts. */
  toMs: number;
}

/** A request got an orderly answer with the wrong bytes. */
export class WrongBytes extends Error {}
/** A request got nothing at all. */
export class Unanswered extends Error {}

interface Failure {
  readonly kind: string;
  readonly reason: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** Enough to see what went wrong. */
const MAX_KEPT = 1_000;

export class Ledger {
  good = 0;
  wrong = 0;
  unanswered = 0;
  readonly goodByKind = new Map<string, number>();
  readonly windows: FaultWindow[] = [];
  readonly #failures: Failure[] = [];
  #failed = 0;

  /** A request ended; `error` is undefined when the right bytes came. */
  note(kind: string, fromMs: number, error: unknown): void {
    if (error === undefined) {
      this.good += 1;
      this.goodByKind.set(kind, (this.goodByKind.get(kind) ?? 0) + 1);
      return;
    }
    if (error instanceof WrongBytes) this.wrong += 1;
    else if (error instanceof Unanswered) this.unanswered += 1;
    else this.#failed += 1;
    const reason = error instanceof Error ? error.message : String(error);
    if (this.#failures.length < MAX_KEPT) this.#failures.push({ kind, reason, fromMs, toMs: performance.now() });
  }

  /** A fault begins; the caller says when it is over. */
  begin(name: string): FaultWindow {
    const window = { name, fromMs: performance.now(), toMs: Number.POSITIVE_INFINITY };
    this.windows.push(window);
    return window;
  }

  get failed(): number {
    return this.#failed;
  }

  /** Failures that no fault explains: none of it happened while a fault lasted. */
  get unexplained(): string[] {
    const isExplained = ({ fromMs, toMs }: Failure) =>
      this.windows.some((window) => fromMs <= window.toMs && toMs >= window.fromMs);
    const bad = this.#failures.filter((failure) => !isExplained(failure));
    return bad.map(({ kind, reason, toMs }) => `${kind}: ${reason} (at ${(toMs / 1_000).toFixed(0)} s)`);
  }
}
