/**
 * Renewal time: decides when a certificate is renewed and when a failed attempt is repeated. Pure: clock and chance are
 * arguments. Shares of the life are used throughout, so the rule is the same for 90, 45 and 6 days.
 */

const MINUTE_MS = 60_000;
/** Of the life, when no CA says otherwise. */
const RENEW_AFTER = 2 / 3;
/** So that certificates that were made together are not renewed together; of the life. */
const JITTER = 1 / 20;
/** The CA's wish counts until only this share of the life is left. */
const LAST_RESORT = 1 / 20;

/** Waits after the first failures; the last one holds for all that follow. CertMagic's schedule. */
const RETRY_MINUTES = [1, 2, 2, 5, 10, 10, 10, 20, 20, 20, 20, 30, 30, 30, 30, 30, 30, 60, 60, 60, 120, 180, 360];
/** Share of a wait that chance may take off. */
const RETRY_JITTER = 1 / 10;
const DAY_MS = 24 * 60 * MINUTE_MS;
/** A CA that says "in a year" is mistaken. */
const MAX_TOLD_MS = 7 * DAY_MS;
/** No pause is longer: one that is was chosen by a clock that has been set back since. */
const LONGEST_PAUSE_MS = MAX_TOLD_MS + DAY_MS;

/** Milliseconds since 1970. */
export interface Life {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** RFC 9773; milliseconds since 1970. */
export interface SuggestedWindow {
  readonly startMs: number;
  readonly endMs: number;
}

/**
 * When to renew, in milliseconds since 1970: a random moment of the CA's window, but never in the last twentieth of the
 * life; without a window two thirds into the life and up to a twentieth later. Choose once and keep it.
 * @param random in [0, 1).
 */
export function renewalTime(life: Life, window: SuggestedWindow | undefined, random: number): number {
  const lifeMs = life.notAfterMs - life.notBeforeMs;
  if (window === undefined) return life.notBeforeMs + lifeMs * (RENEW_AFTER + JITTER * random);
  const wishedMs = window.startMs + (window.endMs - window.startMs) * random;
  return Math.min(wishedMs, life.notAfterMs - lifeMs * LAST_RESORT);
}

/**
 * How long to wait before the next attempt, in milliseconds.
 * @param failures attempts in a row that failed; at least 1.
 * @param random in [0, 1).
 * @param toldMs what the CA asked for (Retry-After); never undercut.
 */
export function retryDelay(failures: number, random: number, toldMs = 0): number {
  const index = Math.min(Math.max(failures, 1), RETRY_MINUTES.length) - 1;
  const minutes = RETRY_MINUTES[index] ?? 360;
  const told = Math.min(toldMs, MAX_TOLD_MS);
  // Off our own wait, but on top of the CA's: many wait for the same moment.
  return Math.max(minutes * MINUTE_MS * (1 - RETRY_JITTER * random), told + MINUTE_MS * random * (told > 0 ? 1 : 0));
}

/** Whether a certificate that came then is so fresh that only a mistake, or one revocation, replaces it. */
export function isHasty(life: Life, cameAtMs: number, nowMs: number): boolean {
  const freshMs = Math.min(DAY_MS, (life.notAfterMs - life.notBeforeMs) * LAST_RESORT);
  return nowMs >= cameAtMs && nowMs - cameAtMs < freshMs;
}

/**
 * Before when a fresh certificate is not replaced, in milliseconds since 1970; 0 when it may be now. One revocation is
 * answered at once; a CA that wants every new certificate replaced is mistaken and gets the pauses of a failure.
 * @param hasty renewals in a row that were hasty.
 */
export function calmUntil(cameAtMs: number, hasty: number): number {
  return hasty === 0 ? 0 : cameAtMs + retryDelay(hasty, 0);
}

/** A moment that was put off until then; 0 when it was a clock of the future that said so. */
export function plausible(atMs: number, nowMs: number): number {
  return atMs - nowMs > LONGEST_PAUSE_MS ? 0 : atMs;
}
