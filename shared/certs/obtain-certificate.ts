/**
 * Obtaining: decides how a certificate is ordered and kept so that several processes on one state folder order it once:
 * take the name's lock, look whether somebody else has renewed meanwhile, order, keep. Owns the lock while it works.
 */
import type { CertificateStore, StoredCertificate } from './certificate-store.js';
import { type ChosenCas, isFormer } from './chosen-cas.js';
import { IssueFailure } from './issue-failure.js';
import { factsOf } from './issued-chain.js';
import type { Issuer, IssueStep } from './issuer.js';
import { type KeyType, makePrivateKey } from './private-key.js';
import { isHasty } from './renewal-time.js';
import type { StoredRecord } from './stored-record.js';

export interface ObtainOptions {
  readonly store: CertificateStore;
  readonly issuer: Issuer;
  /** The CAs that are configured; all when left out. */
  readonly cas?: ChosenCas;
  /** The hostname or wildcard that it is kept under. */
  readonly hostname: string;
  readonly keyType?: KeyType | undefined;
  /** Whether a stored certificate makes an order needless; asked with the lock held. */
  readonly isFresh: (stored: StoredCertificate) => boolean;
  /** What is waited for changes. */
  readonly onStep?: (step: IssueStep) => void;
  readonly signal: AbortSignal;
  /** Milliseconds since 1970; the system's clock when left out. */
  readonly now?: () => number;
}

/**
 * A fresh certificate, from the store or from the CA.
 * @throws {IssueFailure} when the CA gives none; {TunnelError} when the store fails.
 */
export async function obtainCertificate(options: ObtainOptions): Promise<StoredCertificate> {
  const { store, issuer, hostname, isFresh, signal, now = Date.now } = options;
  const lock = await store.lock(hostname, signal);
  try {
    const stored = store.newest(hostname, now(), options.cas);
    const isOurs = stored !== undefined && !isFormer(stored.ca, options.cas);
    if (isOurs && isFresh(stored)) return stored;
    const keyPem = await makePrivateKey(options.keyType);
    const replaces = isOurs ? { replaces: stored.chainPem } : {};
    const issued = await issuer.issue({ hostnames: [hostname], keyPem, signal, onStep: options.onStep, ...replaces });
    lock.refuseLost();
    const { chainPem } = issued;
    refuseOver(chainPem, hostname, now());
    store.save(issued.issuer, hostname, { chainPem, keyPem, record: firstRecord(isOurs ? stored : undefined, now()) });
    const kept = store.read(issued.issuer, hostname);
    if (kept === undefined) throw new Error(`Cannot read back the certificate for ${hostname}`);
    return kept;
  } finally {
    lock.release();
  }
}

/** Kept, it would be ordered again at once, and for ever. */
function refuseOver(chainPem: string, hostname: string, nowMs: number): void {
  const { notAfterMs } = factsOf(chainPem);
  if (notAfterMs > nowMs) return;
  const state = `it ended at ${new Date(notAfterMs).toISOString()}, and here it is ${new Date(nowMs).toISOString()}`;
  throw new IssueFailure('ca-down', `Cannot use the certificate for ${hostname}: ${state}. Check the clock.`);
}

function firstRecord(before: StoredCertificate | undefined, nowMs: number): StoredRecord {
  if (before === undefined || !isHasty(before, before.record.issuedAtMs ?? before.notBeforeMs, nowMs))
    return { issuedAtMs: nowMs };
  return { issuedAtMs: nowMs, hasty: (before.record.hasty ?? 0) + 1 };
}
