/**
 * Certificates: decides what the edge needs of a source of certificates, and the TLS options that hold for all of them.
 *
 * Sources: AcmeCertificates (the relay's tls.mode acme, and tunnels with tls: end-to-end at home), CertificateFiles (tls.mode
 * files, and such tunnels) and LocalCa (tls.mode local-ca). Whoever ends TLS asks `contextFor` while a handshake waits, so that answer comes from memory;
 * `prepare` is awaited before a hostname is served at all. Owns nothing.
 */
import { constants } from 'node:crypto';
import type { SecureContext, TlsOptions } from 'node:tls';
import type { IssueStep } from './issuer.js';

/** What the relay's edge, or a client at home, needs to terminate TLS for its hostnames. */
export interface CertificateSource {
  /**
   * Makes sure that `contextFor` will know this hostname (or `*.` wildcard). Called when the relay starts and for every
   * claim, only with names that the relay vouches for.
   * @throws {TunnelError} when no certificate can be had, with the cure.
   */
  prepare(hostname: string): Promise<void>;
  /** The certificate for this SNI, whatever its case; undefined means: show none, send `unrecognized_name`. */
  contextFor(hostname: string): SecureContext | undefined;
  /** Looks at its files now, without waiting for its own timer. What cannot be used is logged, and the old stays. */
  reload(): void;
  /** Every certificate, ready or not, for people who look. */
  list(): CertificateStatus[];
  /** Ends timers. Safe any number of times. */
  close(): void;
}

/**
 * What is known of the certificate for one name:
 *
 *   missing → issuing → valid → renewing → valid      a failure leads to waiting, and from there to issuing or renewing
 *
 * One that is there is served in each of these states. Times are milliseconds since 1970.
 */
export interface CertificateStatus {
  /** The hostname or `*.` wildcard. */
  readonly name: string;
  readonly state: 'missing' | 'issuing' | 'valid' | 'renewing' | 'waiting';
  /** Who made it: the name of an ACME CA, `local-ca` or `files`; undefined while there is none. */
  readonly issuer?: string | undefined;
  /** Undefined while there is no certificate. */
  readonly notAfterMs?: number | undefined;
  /** When the program means to renew it by itself. */
  readonly renewAtMs?: number | undefined;
  /** What the newest failure said, with its cure; undefined once it worked again. */
  readonly lastError?: string | undefined;
  /** When the next attempt after that failure is. */
  readonly retryAtMs?: number | undefined;
  /** What an order that runs waits for. */
  readonly awaits?: IssueStep | undefined;
}

/** A certificate that a source has just got, or made. */
export interface IssuedCertificate {
  /** The hostname or `*.` wildcard. */
  readonly hostname: string;
  /** The name of the CA. */
  readonly issuer: string;
  /** Milliseconds since 1970. */
  readonly notAfterMs: number;
}

/** Where a source tells what happened to it; a pino logger is one. */
export interface CertificateLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
];

/**
 * TLS 1.2 and 1.3, AEAD with forward secrecy only, X25519 and P-256, no renegotiation. For the edge's `tls.createServer`
 * and for every context: OpenSSL takes most of these from the server, not from the context that SNI chose.
 * The server's order counts, except that a visitor without AES in hardware gets the ChaCha20 it asks for.
 */
export const tlsServerOptions = {
  minVersion: 'TLSv1.2',
  ciphers: CIPHERS.join(':'),
  ecdhCurve: 'X25519:P-256',
  honorCipherOrder: true,
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_PRIORITIZE_CHACHA,
} as const satisfies TlsOptions;

/** The wildcard that would cover this hostname: `*.example.com` for `app.example.com`. */
export function wildcardOf(hostname: string): string {
  return hostname.replace(/^[^.]*/, '*');
}
