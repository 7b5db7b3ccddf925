/**
 * Issued chains: decides whether what a CA sent is the certificate that was asked for. Pure functions; own nothing.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { Secret } from '../secret.js';
import { IssueFailure } from './issue-failure.js';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

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

/** @throws {IssueFailure} `ca-down` unless the chain is for this key and for all these names. */
export function refuseWrongChain(
  chainPem: string,
  wanted: { readonly hostnames: readonly string[]; readonly keyPem: Secret },
): void {
  const problem = problemOf(chainPem, wanted);
  if (problem === undefined) return;
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
    return belongsTo(chainPem, keyPem) ? undefined : 'the CA made it for another key';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
