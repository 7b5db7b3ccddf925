/**
 * Obtaining: decides how a certificate is ordered and kept so that several processes on one state folder order it once:
 * take the name's lock, look whether somebody else has renewed meanwhile, order, keep. Owns the lock while it works.
 */
import type { CertificateStore, StoredCertificate } from './certificate-store.js';
import type { Issuer } from './issuer.js';
import { type KeyType, makePrivateKey } from './private-key.js';

export interface ObtainOptions {
  readonly store: CertificateStore;
  readonly issuer: Issuer;
  /** The hostname or wildcard that it is kept under. */
  readonly hostname: string;
  readonly keyType?: KeyType | undefined;
  /** Whether a stored certificate makes an order needless; asked with the lock held. */
  readonly isFresh: (stored: StoredCertificate) => boolean;
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
    const stored = store.newest(hostname, now());
    if (stored && isFresh(stored)) return stored;
    const keyPem = await makePrivateKey(options.keyType);
    const replaces = stored === undefined ? {} : { replaces: stored.chainPem };
    const issued = await issuer.issue({ hostnames: [hostname], keyPem, signal, ...replaces });
    lock.refuseLost();
    store.save(issued.issuer, hostname, { chainPem: issued.chainPem, keyPem, record: { issuedAtMs: now() } });
    const kept = store.read(issued.issuer, hostname);
    if (kept === undefined) throw new Error(`Cannot read back the certificate for ${hostname}`);
    return kept;
  } finally {
    lock.release();
  }
}
