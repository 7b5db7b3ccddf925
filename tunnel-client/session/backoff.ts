/**
 * Backoff: decides how long the client waits before it tries again. The first retry comes at once, the next ones with
 * full jitter over a span that doubles (AWS Architecture Blog, "Exponential Backoff and Jitter"), so that a thousand
 * clients of a restarted relay spread out. No wait is longer than all waits before it together (or one second): without
 * that, a client that drew three short waits is not back for eight seconds after a relay that was away for one. It starts
 * anew only after STABLE_MS of service: a relay that accepts and drops links must not be hammered.
 */
import { retryOf, type TunnelError } from '../../shared/errors.js';

const FIRST_SPAN_MS = 300;
const SECOND_SPAN_MS = 1_000;
const MAX_SPAN_MS = 20_000;
const SLOW_SPAN_MS = 30_000;
const STABLE_MS = 10_000;

export class Backoff {
  readonly #random: () => number;
  #failures = 0;
  #waitedMs = 0;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** How long to wait after this failure, in milliseconds. `servedMs` is how long service lasted before it. */
  next(error: TunnelError, servedMs: number): number {
    if (servedMs >= STABLE_MS) this.#startAnew();
    this.#failures += 1;
    const delayMs = (error.retryInMs ?? 0) + this.#random() * this.#spanMs(error);
    this.#waitedMs += delayMs;
    return delayMs;
  }

  #startAnew(): void {
    this.#failures = 0;
    this.#waitedMs = 0;
  }

  #spanMs(error: TunnelError): number {
    if (retryOf(error.code) === 'slowly') return SLOW_SPAN_MS;
    if (this.#failures === 1) return FIRST_SPAN_MS;
    const doubledMs = SECOND_SPAN_MS * 2 ** (this.#failures - 2);
    return Math.min(MAX_SPAN_MS, doubledMs, Math.max(SECOND_SPAN_MS, this.#waitedMs));
  }
}
