/**
 * CertificateHealth: decides when a certificate is trouble: it ends soon, it has ended, or getting a new one fails for
 * longer than a moment. Each kind of trouble is told once, and the end of it once.
 *
 * Pure: it is told the time. Owned by: AlertWatch, one per name.
 */
import type { CertificateStatus } from '../../../shared/certs/certificates.js';

export type CertificateTrouble = 'failing' | 'expiring' | 'expired';

export interface CertificateOptions {
  /** Less life than this is too little. */
  readonly certificateWithinMs: number;
  /** How long failures may go on before they are news: most end with the next attempt. */
  readonly downAfterMs: number;
}

const SEVERITY = ['failing', 'expiring', 'expired'] as const;

export class CertificateHealth {
  readonly #options: CertificateOptions;
  #told: CertificateTrouble | undefined;
  #failingSinceMs: number | undefined;

  constructor(options: CertificateOptions) {
    this.#options = options;
  }

  /** What is news: a trouble worse than the one told of, or `well` when the last one is over. */
  look(status: CertificateStatus, nowMs: number): CertificateTrouble | 'well' | undefined {
    const trouble = this.#troubleOf(status, nowMs);
    if (rankOf(trouble) > rankOf(this.#told)) {
      this.#told = trouble;
      return trouble;
    }
    if (trouble !== undefined || this.#told === undefined) return undefined;
    this.#told = undefined;
    return 'well';
  }

  #troubleOf({ notAfterMs, lastError }: CertificateStatus, nowMs: number): CertificateTrouble | undefined {
    if (lastError === undefined) this.#failingSinceMs = undefined;
    else this.#failingSinceMs ??= nowMs;
    if (notAfterMs !== undefined && notAfterMs <= nowMs) return 'expired';
    if (notAfterMs !== undefined && notAfterMs - nowMs < this.#options.certificateWithinMs) return 'expiring';
    const isFailing = this.#failingSinceMs !== undefined && nowMs - this.#failingSinceMs >= this.#options.downAfterMs;
    return isFailing ? 'failing' : undefined;
  }
}

function rankOf(trouble: CertificateTrouble | undefined): number {
  return trouble === undefined ? -1 : SEVERITY.indexOf(trouble);
}
