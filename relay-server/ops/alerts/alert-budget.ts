/**
 * AlertBudget: keeps alerts few whatever happens: at most MAX_ALERTS of one event in WINDOW_MS. The last one that fits
 * says so, and the first one after a pause says how many were left out; the log has all of them. Each event has a budget of
 * its own, so that clients who come and go do not hide a certificate that ends.
 *
 * Pure: it is told the time. Owned by: Alerts.
 */
import { roundedSpan } from '../../../shared/terminal-text.js';
import type { AlertEvent, News } from './alert.js';

const MAX_ALERTS = 20;
const WINDOW_MS = 3_600_000;

export class AlertBudget {
  readonly #spent = new Map<AlertEvent, { atMs: number[]; leftOut: number }>();

  /** What is told of it; undefined for nothing. `nowMs` counts on the monotonic clock. */
  admit(news: News, nowMs: number): News | undefined {
    const spent = this.#spent.get(news.event) ?? { atMs: [], leftOut: 0 };
    this.#spent.set(news.event, spent);
    spent.atMs = spent.atMs.filter((atMs) => nowMs - atMs < WINDOW_MS);
    if (spent.atMs.length >= MAX_ALERTS) {
      spent.leftOut += 1;
      return undefined;
    }
    spent.atMs.push(nowMs);
    const { leftOut } = spent;
    spent.leftOut = 0;
    const before = leftOut === 0 ? '' : ` ${leftOut} more of this kind were not told: see the log of the relay.`;
    return { ...news, text: `${news.text}${before}${lastWords(spent.atMs, nowMs)}` };
  }
}

function lastWords(atMs: readonly number[], nowMs: number): string {
  if (atMs.length < MAX_ALERTS) return '';
  const pauseMs = WINDOW_MS - (nowMs - (atMs[0] ?? nowMs));
  return ` These were ${MAX_ALERTS} of this kind within ${roundedSpan(WINDOW_MS)}: no more of them for ${roundedSpan(pauseMs)}.`;
}
