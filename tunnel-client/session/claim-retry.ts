/**
 * ClaimRetry: decides when a denied claim is made again, so that it neither misses its time nor hears the same reason over
 * and over. Pure; owns nothing.
 */
import type { Denied } from '../../shared/messages.js';

/** How soon a claim that somebody else holds is tried again; the relay holds a lost client's address for 15 s. */
const CLAIM_RETRY_MS = 5_000;
/** A CA that does not issue is asked by the relay, ever more seldom: there is less and less to hear. */
const MAX_CERTIFICATE_RETRY_MS = 60_000;
/** A relay may know of hours, but its operator can make it try at once (`relay cert renew`). */
const MAX_TOLD_RETRY_MS = 5 * 60_000;

/**
 * Milliseconds until the next claim: not before the relay says, and else about `CLAIM_RETRY_MS`.
 * @param denials in a row, this one included.
 */
export function claimRetryMs(
  { code, retryInMs }: Pick<Denied, 'code' | 'retryInMs'>,
  denials: number,
  random: () => number = Math.random,
): number {
  if (retryInMs !== undefined) return Math.min(retryInMs, MAX_TOLD_RETRY_MS) + random() * (CLAIM_RETRY_MS / 2);
  const jitter = 0.75 + random() / 2;
  if (code !== 'CERTIFICATE_FAILED') return CLAIM_RETRY_MS * jitter;
  return Math.min(CLAIM_RETRY_MS * 2 ** (denials - 1), MAX_CERTIFICATE_RETRY_MS) * jitter;
}
