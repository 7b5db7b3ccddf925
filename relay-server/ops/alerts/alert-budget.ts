/**
 * AlertBudget: keeps alerts few whatever happens. In WINDOW_MS at most MAX_PER_SHARE of one event are told about one token,
 * and MAX_IN_ALL about all of them; but the first about each token is always told, so that clients who come and go hide
 * neither another token's trouble nor a certificate that ends. The last one that fits says so, and the first one after a
 * pause says how many were left out; the log has all of them.
 *
 * Pure: it is told the time. Owned by: Alerts.
 */
import { roundedSpan } from '../../../shared/command/terminal-text.js';
import type { AlertEvent, News } from './alert.js';

const MAX_PER_SHARE = 20;
const MAX_IN_ALL = 60;
const WINDOW_MS = 3_600_000;

/** What was told of one event: times within the window, by whose share they count. */
class Spent {
  readonly #atMs = new Map<string, number[]>();
  readonly #leftOut = new Map<string, number>();

  count(share: string): number {
    return this.#atMs.get(share)?.length ?? 0;
  }

  get countInAll(): number {
    return [...this.#atMs.values()].reduce((sum, { length }) => sum + length, 0);
  }

  /** Shares of which nothing is left take no room. */
  forgetUntil(ms: number): void {
    for (const [share, times] of this.#atMs) {
      const recent = times.filter((atMs) => atMs > ms);
      if (recent.length > 0) this.#atMs.set(share, recent);
      else this.#atMs.delete(share);
    }
  }

  /** Returns how many were left out before. */
  tell(share: string, nowMs: number): number {
    const leftOut = this.#leftOut.get(share) ?? 0;
    this.#leftOut.delete(share);
    this.#atMs.set(share, [...(this.#atMs.get(share) ?? []), nowMs]);
    return leftOut;
  }

  leaveOut(share: string): void {
    this.#leftOut.set(share, (this.#leftOut.get(share) ?? 0) + 1);
  }

  /** When the oldest of a share was told. */
  beganMs(share: string): number | undefined {
    return this.#atMs.get(share)?.[0];
  }
}

export class AlertBudget {
  readonly #spent = new Map<AlertEvent, Spent>();

  /** What is told of it; undefined for nothing. `nowMs` counts on the monotonic clock. */
  admit(news: News, nowMs: number): News | undefined {
    const { event, share } = news;
    const spent = this.#spent.get(event) ?? new Spent();
    this.#spent.set(event, spent);
    spent.forgetUntil(nowMs - WINDOW_MS);
    const count = spent.count(share);
    if (count >= MAX_PER_SHARE || (count > 0 && spent.countInAll >= MAX_IN_ALL)) {
      spent.leaveOut(share);
      return undefined;
    }
    const leftOut = spent.tell(share, nowMs);
    const before = leftOut === 0 ? '' : ` ${leftOut} more of this kind were not told: see the log of the relay.`;
    return { ...news, text: `${news.text}${before}${lastWords(spent, share, nowMs)}` };
  }
}

function lastWords(spent: Spent, share: string, nowMs: number): string {
  const count = spent.count(share);
  const whole = roundedSpan(WINDOW_MS);
  if (count < MAX_PER_SHARE) {
    if (spent.countInAll < MAX_IN_ALL) return '';
    return ` There were ${MAX_IN_ALL} of this kind within ${whole}: for a while only the first about each token is told.`;
  }
  const pause = roundedSpan(WINDOW_MS - (nowMs - (spent.beganMs(share) ?? nowMs)));
  const whose = share === '' ? '' : ` about ${share}`;
  return ` These were ${count} of this kind${whose} within ${whole}: no more of them for ${pause}.`;
}
