/**
 * AuditRepeats: decides which of many equal events get a record of their own, so that a stranger who knocks, or a client
 * that asks again every minute, cannot push everything else out of a log of bounded size. What is left out is counted in
 * the next record of its kind.
 *
 * Owns: a bounded memory. Owned by: AuditLog.
 */
import type { LogFields } from '../../../shared/log.js';
import type { AuditEvent } from './audit-log.js';

interface Rule {
  readonly windowMs: number;
  /** Records in one window. */
  readonly records: number;
  /** Events with the same values of these fields are equal. */
  readonly sameFields: readonly string[];
}

interface Seen {
  readonly sinceMs: number;
  records: number;
  leftOut: number;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const MAX_KINDS = 4_096;

/** Events that others can cause as often as they like. */
const RULES: ReadonlyMap<AuditEvent, Rule> = new Map<AuditEvent, Rule>([
  // Each address has its own limit (limits.failed_proofs_per_minute); this one is for many addresses.
  ['login-failed', { windowMs: MINUTE, records: 60, sameFields: [] }],
  ['claim-denied', { windowMs: HOUR, records: 1, sameFields: ['tokenName', 'client', 'public', 'code'] }],
  ['token-used', { windowMs: HOUR, records: 30, sameFields: ['tokenName', 'client'] }],
]);

export class AuditRepeats {
  readonly #seen = new Map<string, Seen>();

  /** How many equal events were left out since the last record; undefined when this one is left out too. */
  admit(event: AuditEvent, fields: LogFields, nowMs = performance.now()): number | undefined {
    const rule = RULES.get(event);
    if (rule === undefined) return 0;
    const key = JSON.stringify([event, ...rule.sameFields.map((name) => String(fields[name]))]);
    const seen = this.#seen.get(key);
    if (seen === undefined || nowMs - seen.sinceMs >= rule.windowMs) {
      this.#begin(key, nowMs);
      return seen?.leftOut ?? 0;
    }
    if (seen.records < rule.records) {
      seen.records += 1;
      return 0;
    }
    seen.leftOut += 1;
    return undefined;
  }

  #begin(key: string, nowMs: number): void {
    this.#seen.delete(key);
    this.#seen.set(key, { sinceMs: nowMs, records: 1, leftOut: 0 });
    const [oldest] = this.#seen.keys();
    if (this.#seen.size > MAX_KINDS && oldest !== undefined) this.#seen.delete(oldest);
  }
}
