/**
 * Issued chains: decides whether what a CA sent is the certificate that was asked for. Pure functions; own nothing.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { Secret } from '../secret.js';
import { tlsServerOptions } from './certificates.js';
import { IssueFailure } from './issue-failure.js';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Real chains have two to four; every visitor gets them all. */
const MAX_CERTIFICATES = 10;

/** What a chain says about its first certificate. */
export interface ChainFacts {
  /** DNS names of the SAN, lower-case. */
  readonly hostnames: readonly string[];
  /** Milliseconds since 1970. */
  readonly notBeforeMs: number;
  /** Milliseconds since 1970. */
  readonly notAfterMs: number;
  /** Common name of its issuer; empty when it has none. */
  readonly signedBy: string;
  /** Hexadecimal. */
  readonly serial: string;
}

/** The certificates of a PEM text, each with its own begin and end line. */
export function certificatesIn(pem: string): readonly string[] {
  return pem.match(CERTIFICATE) ?? [];
}

/** @throws {Error} when the text holds no certificate. */
export function leafOf(chainPem: string): X509Certificate {
  const [leaf] = certificatesIn(chainPem);
  if (leaf === undefined) throw new Error('it holds no certificate');
  return new X509Certificate(leaf);
}

/** @throws {Error} when the text holds no certificate. */
export function factsOf(chainPem: string): ChainFacts {
  const leaf = leafOf(chainPem);
  const entries = leaf.subjectAltName?.split(', ') ?? [];
  return {
    hostnames: entries.filter((entry) => entry.startsWith('DNS:')).map((entry) => entry.slice(4).toLowerCase()),
    notBeforeMs: Date.parse(leaf.validFrom),
    notAfterMs: Date.parse(leaf.validTo),
    signedBy: /^CN=(.*)$/m.exec(leaf.issuer)?.[1] ?? '',
    serial: leaf.serialNumber,
  };
}

/** Whether the first certificate of the chain was made for this key. */
export function belongsTo(chainPem: string, keyPem: Secret): boolean {
  return leafOf(chainPem).checkPrivateKey(createPrivateKey(keyPem.reveal()));
}

/**
 * The certificates of what a CA sent, and nothing else of it: the text becomes a file that other programs read, too.
 * @throws {IssueFailure} `ca-down` unless they are for this key and for all these names, and TLS can be served with them.
 */
export function checkedChain(
  sent: string,
  wanted: { readonly hostnames: readonly string[]; readonly keyPem: Secret },
): string {
  const certificates = certificatesIn(sent);
  const chainPem = certificates.map((certificate) => `${certificate}\n`).join('');
  const problem =
    certificates.length > MAX_CERTIFICATES
      ? `the CA sent ${certificates.length} certificates`
      : problemOf(chainPem, wanted);
  if (problem === undefined) return chainPem;
  throw new IssueFailure('ca-down', `Cannot use the certificate for ${wanted.hostnames.join(', ')}: ${problem}.`);
}

function problemOf(
  chainPem: string,
  { hostnames, keyPem }: { readonly hostnames: readonly string[]; readonly keyPem: Secret },
): string | undefined {
  try {
    const covered = new Set(factsOf(chainPem).hostnames);
    const missing = hostnames.find((hostname) => !covered.has(hostname));
    if (missing !== undefined) return `the CA left out ${missing}`;
    if (!belongsTo(chainPem, keyPem)) return 'the CA made it for another key';
    createSecureContext({ ...tlsServerOptions, cert: chainPem, key: keyPem.reveal() });
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
