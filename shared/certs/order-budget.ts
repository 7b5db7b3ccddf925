/**
 * OrderBudget: decides how fast certificates are ordered: at most `orders` per `perMs`, one order at a time for each name,
 * a bounded queue. CAs limit their customers; a local budget below theirs keeps one busy moment from a day of waiting.
 *
 * Owns: the queue, one timer while somebody waits, the signal of all that runs. Owned by: the one who keeps certificates.
 */
import { TunnelError } from '../errors.js';
import { untilAborted } from './time-limit.js';

export interface OrderBudgetOptions {
  /** Orders that may begin within `perMs`; 10 when left out. */
  readonly orders?: number;
  /** 10,000 when left out. */
  readonly perMs?: number;
  /** Names that may wait; 1,000 when left out. */
  readonly maxWaiting?: number;
}

interface Turn {
  begin(): void;
}

export class OrderBudget {
  readonly #orders: number;
  readonly #perMs: number;
  readonly #maxWaiting: number;
  readonly #running = new Map<string, Promise<unknown>>();
  readonly #waiting: Turn[] = [];
  /** When the newest orders began, monotonic milliseconds. */
  readonly #begunAtMs: number[] = [];
  readonly #closing = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor({ orders = 10, perMs = 10_000, maxWaiting = 1_000 }: OrderBudgetOptions = {}) {
    this.#orders = orders;
    this.#perMs = perMs;
    this.#maxWaiting = maxWaiting;
  }

  /**
   * What `act` resolves with, once it is its turn; a name that is already under way shares that run.
   * @throws {TunnelError} LIMIT_EXCEEDED when too many wait; whatever `act` throws; the reason of `close`.
   */
  run<Result>(name: string, act: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const known = this.#running.get(name);
    // One name, one kind of act: the caller's own result type holds for it.
    if (known) return known as Promise<Result>;
    if (this.#closing.signal.aborted) return Promise.reject(this.#closing.signal.reason);
    if (this.#waiting.length >= this.#maxWaiting) return Promise.reject(this.#full());
    const run = this.#whenItsTurn(act).finally(() => this.#running.delete(name));
    this.#running.set(name, run);
    return run;
  }

  /** Ends what runs and refuses what waits. Safe any number of times. */
  close(): void {
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
    this.#closing.abort(new TunnelError('RELAY_DRAINING', 'Cannot order a certificate: this program stops.'));
  }

  async #whenItsTurn<Result>(act: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const { signal } = this.#closing;
    await untilAborted(
      new Promise<void>((begin) => {
        this.#waiting.push({ begin });
        this.#letIn();
      }),
      signal,
    );
    return act(signal);
  }

  #letIn(): void {
    clearTimeout(this.#timer);
    const nowMs = performance.now();
    while ((this.#begunAtMs[0] ?? nowMs) <= nowMs - this.#perMs) this.#begunAtMs.shift();
    while (this.#begunAtMs.length < this.#orders) {
      const turn = this.#waiting.shift();
      if (turn === undefined) return;
      this.#begunAtMs.push(nowMs);
      turn.begin();
    }
    const [oldest = nowMs] = this.#begunAtMs;
    if (this.#waiting.length > 0) this.#timer = setTimeout(() => this.#letIn(), oldest + this.#perMs - nowMs + 1);
  }

  #full(): TunnelError {
    return new TunnelError('LIMIT_EXCEEDED', `Cannot order a certificate: ${this.#maxWaiting} others wait. Try later.`);
  }
}
