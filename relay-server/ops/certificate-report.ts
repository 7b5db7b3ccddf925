/**
 * Certificate report: decides how certificates are told to people and scripts: `relay cert list` and `/api/v1/certificates`
 * say the same. Pure functions; own nothing.
 */
import type { CertificateStatus } from '../../shared/certs/certificates.js';
import { counted, roundedSpan, tableLines } from '../../shared/command/terminal-text.js';
import { printable } from '../../shared/printable.js';

const DAY_MS = 86_400_000;
const HEAD = ['NAME', 'STATE', 'ISSUER', 'EXPIRES', 'RENEWAL'];

/** Times are ISO 8601; null where there is none. */
export interface CertificateEntry {
  readonly name: string;
  readonly state: CertificateStatus['state'];
  readonly issuer: string | null;
  readonly notAfter: string | null;
  /** When the relay means to renew it. */
  readonly renewAt: string | null;
  /** The newest failure with its cure, until it is tried again. */
  readonly lastError: string | null;
  /** The next attempt after that. */
  readonly retryAt: string | null;
}

export function certificateEntry(status: CertificateStatus): CertificateEntry {
  // What failed before is being tried again.
  const isBusy = status.state === 'issuing' || status.state === 'renewing';
  return {
    name: status.name,
    state: status.state,
    issuer: status.issuer ?? null,
    notAfter: isoTime(status.notAfterMs),
    renewAt: isoTime(status.renewAtMs),
    lastError: isBusy ? null : (status.lastError ?? null),
    retryAt: isBusy ? null : isoTime(status.retryAtMs),
  };
}

/** A table, and below it each failure with its cure; without a line break at the end. */
export function formatCertificates(entries: readonly CertificateEntry[], nowMs: number = Date.now()): string {
  const rows = entries.map((entry) => rowOf(entry, nowMs).map(printable));
  const failures = entries.flatMap(({ name, lastError }) => {
    if (lastError === null) return [];
    return ['', printable(`${name}: ${lastError}`)];
  });
  return [...tableLines([HEAD, ...rows]), ...failures].join('\n');
}

function rowOf({ name, state, issuer, notAfter, renewAt, retryAt }: CertificateEntry, nowMs: number): string[] {
  return [name, state, issuer ?? '-', expiryOf(notAfter, nowMs), renewalOf({ renewAt, retryAt }, nowMs)];
}

function renewalOf({ renewAt, retryAt }: Pick<CertificateEntry, 'renewAt' | 'retryAt'>, nowMs: number): string {
  const leftMs = retryAt === null ? 0 : Date.parse(retryAt) - nowMs;
  if (leftMs > 0) return `next attempt in ${roundedSpan(leftMs)}`;
  return renewAt === null ? '-' : `${renewAt.slice(0, 16)}Z`;
}

function expiryOf(notAfter: string | null, nowMs: number): string {
  if (notAfter === null) return '-';
  const leftMs = Date.parse(notAfter) - nowMs;
  return `${notAfter.slice(0, 10)} (${leftMs <= 0 ? 'expired' : `in ${counted(Math.floor(leftMs / DAY_MS), 'day')}`})`;
}

function isoTime(ms: number | undefined): string | null {
  return ms === undefined || !Number.isFinite(ms) ? null : new Date(ms).toISOString();
}
