/**
 * TunnelHealth: decides when the coming and going of one tunnel is news.
 *
 *   up → away (silent) → up                     a break shorter than `downAfterMs` is none
 *   away → down ("down") → up ("up")
 *   any → flapping ("flapping", once): silent until nothing has changed for `flappingWindowMs`, then "steady" or "down"
 *
 * Pure: it is told the time. Owned by: AlertWatch, one per public address.
 */
export interface TunnelOptions {
  readonly downAfterMs: number;
  /** So many losses in `flappingWindowMs` are flapping. */
  readonly flappingAfter: number;
  readonly flappingWindowMs: number;
}

export type TunnelNews = 'up' | 'down' | 'flapping' | 'steady';

export class TunnelHealth {
  readonly #options: TunnelOptions;
  #state: 'up' | 'away' | 'down';
  #isFlapping = false;
  #changedAtMs: number;
  /** When it was lost, within the window; never longer than `flappingAfter`. */
  #lossesAtMs: number[] = [];

  /** One that was up before a restart of the relay is away until its client is back. */
  constructor(options: TunnelOptions, before: 'up' | 'down' | undefined, nowMs: number) {
    this.#options = options;
    this.#state = before === undefined ? 'up' : before === 'up' ? 'away' : 'down';
    this.#changedAtMs = nowMs;
  }

  get isDown(): boolean {
    return this.#state === 'down';
  }

  /** How long it has been as it is. */
  unchangedMs(nowMs: number): number {
    return nowMs - this.#changedAtMs;
  }

  /** Looks at it once more; what of that is news. */
  look(isOnline: boolean, nowMs: number): TunnelNews | undefined {
    const before = this.#state;
    if (isOnline) this.#state = 'up';
    else if (before === 'up') this.#state = 'away';
    const isLoss = before === 'up' && !isOnline;
    if (isLoss || (before !== 'up' && isOnline)) this.#changedAtMs = nowMs;
    if (isLoss && this.#countLoss(nowMs)) return 'flapping';
    if (this.#isFlapping) return this.#settle(nowMs);
    if (this.#state === 'away' && this.unchangedMs(nowMs) >= this.#options.downAfterMs) {
      this.#state = 'down';
      return 'down';
    }
    return before === 'down' && isOnline ? 'up' : undefined;
  }

  /** True when this loss makes it flapping. */
  #countLoss(nowMs: number): boolean {
    const { flappingAfter, flappingWindowMs } = this.#options;
    const recent = this.#lossesAtMs.filter((atMs) => nowMs - atMs < flappingWindowMs);
    this.#lossesAtMs = [...recent, nowMs].slice(-flappingAfter);
    if (this.#isFlapping || this.#lossesAtMs.length < flappingAfter) return false;
    this.#isFlapping = true;
    return true;
  }

  #settle(nowMs: number): TunnelNews | undefined {
    if (this.unchangedMs(nowMs) < this.#options.flappingWindowMs) return undefined;
    this.#isFlapping = false;
    this.#lossesAtMs = [];
    if (this.#state === 'up') return 'steady';
    this.#state = 'down';
    return 'down';
  }
}
