/**
 * TlsAlpnSolver: decides which certificate answers a CA's TLS-ALPN-01 handshake (RFC 8737).
 *
 * The listener that agreed on `acme-tls/1` asks `contextFor` with the SNI; there is a certificate only while a challenge
 * runs. Owns: those certificates, in memory. Owned by: the relay or the client, beside its listener on port 443.
 */
import { createSecureContext, type SecureContext } from 'node:tls';
import { makeAlpnCertificate } from './acme-door.js';
import type { Challenge, ChallengeSolver } from './issuer.js';
import { makePrivateKey } from './private-key.js';

/** What a CA's handshake asks for as application protocol. */
export const ACME_ALPN = 'acme-tls/1';

export class TlsAlpnSolver implements ChallengeSolver {
  readonly type = 'tls-alpn-01';
  readonly #contexts = new Map<string, { readonly token: string; readonly context: SecureContext }>();

  /** Everything but wildcards (RFC 8737 §3). */
  supports(hostname: string): boolean {
    return !hostname.startsWith('*');
  }

  async present({ hostname, token, keyAuthorization }: Challenge): Promise<void> {
    const key = await makePrivateKey();
    const cert = await makeAlpnCertificate(hostname, keyAuthorization, key);
    this.#contexts.set(hostname, { token, context: createSecureContext({ key: key.reveal(), cert }) });
  }

  async cleanup({ hostname, token }: Challenge): Promise<void> {
    if (this.#contexts.get(hostname)?.token === token) this.#contexts.delete(hostname);
  }

  /** The certificate for this SNI, whatever its case; undefined when no challenge runs for it. */
  contextFor(hostname: string): SecureContext | undefined {
    return this.#contexts.get(hostname.toLowerCase())?.context;
  }
}
