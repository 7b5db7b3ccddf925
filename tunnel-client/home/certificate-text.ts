/**
 * Certificate text: decides how the live screen and `tunnel status` say how the certificate of an end-to-end tunnel stands.
 * Pure; owns nothing.
 */

import { roundedSpan } from '../../shared/command/terminal-text.js';
import { printable } from '../../shared/printable.js';
import type { HomeCertificate } from '../ops/client-status.js';

/** Stands above the DNS records. */
export const CAA_ADVICE = 'with these DNS records nobody else, not even the relay, can get a certificate for its name:';

/** Stands where they would. */
export const CAA_UNNAMED =
  'no DNS record can keep others from getting a certificate for its name: its CA names no CAA identity.';

/** Whether visitors of a tunnel that the relay serves are turned away here for want of a certificate. */
export function waitsForCertificate(certificate: HomeCertificate | undefined, nowMs: number): boolean {
  return certificate !== undefined && !isUsable(certificate, nowMs);
}

/** One line, e.g. `certificate valid until 2027-02-18, from acme-v02.api.letsencrypt.org-directory`. */
export function certificateText(certificate: HomeCertificate, nowMs: number): string {
  const { state, issuer = '', notAfterMs, lastError = '', retryAtMs = nowMs } = certificate;
  const failure = `${printable(lastError)} Next attempt in ${roundedSpan(Math.max(0, retryAtMs - nowMs))}.`;
  if (notAfterMs !== undefined) {
    const word = notAfterMs > nowMs ? 'valid until' : 'expired on';
    const life = `certificate ${word} ${new Date(notAfterMs).toISOString().slice(0, 10)}, from ${printable(issuer)}`;
    return state === 'waiting' ? `${life}; not renewed: ${failure}` : life;
  }
  if (state === 'waiting') return `no certificate: ${failure}`;
  return state === 'issuing'
    ? 'getting a certificate; visitors are turned away until it is there'
    : 'no certificate yet';
}

/** Whether visitors are served with it. */
export function isUsable({ notAfterMs }: HomeCertificate, nowMs: number): boolean {
  return notAfterMs !== undefined && notAfterMs > nowMs;
}
