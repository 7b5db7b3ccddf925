/**
 * Certificate pair: decides whether a certificate file and a key file belong together, and for which hostnames.
 * Reads two files; owns nothing. Used by: CertificateFiles.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import type { SecureContext } from 'node:tls';
import { TunnelError } from '../errors.js';
import { readFileBytes } from '../files/bounded-file.js';
import { hostnameOf } from '../hostname.js';
import { serverContext } from './server-context.js';

/** The two files of one certificate, as the operator named them. */
export interface PairFiles {
  /** PEM: the certificate, then its intermediates. */
  readonly certFile: string;
  /** PEM: the private key, without a passphrase. */
  readonly keyFile: string;
}

export interface CertificatePair {
  readonly files: PairFiles;
  /** Hostnames and wildcards of the certificate, in stored form. */
  readonly hostnames: readonly string[];
  /** Milliseconds since 1970. */
  readonly expiresAtMs: number;
  readonly context: SecureContext;
}

/**
 * Reads and checks one pair.
 * @throws {TunnelError} CONFIG_INVALID naming the file and the cure.
 */
export function readCertificatePair(files: PairFiles): CertificatePair {
  const cert = read(files.certFile, 'certificate');
  const key = read(files.keyFile, 'private key');
  const certificate = parseCertificate(files.certFile, cert);
  if (!certificate.checkPrivateKey(parseKey(files.keyFile, key))) {
    throw unusable(
      files.certFile,
      `it does not belong to the key ${files.keyFile}. Name the two files of one certificate`,
    );
  }
  const hostnames = hostnamesOf(certificate);
  if (hostnames.length === 0) throw unusable(files.certFile, 'it names no hostname (SAN). Get one that does');
  return { files, hostnames, expiresAtMs: Date.parse(certificate.validTo), context: contextOf(files, cert, key) };
}

/** The DNS names of the SAN (RFC 5280 §4.2.1.6) that can be hostnames of ours. */
function hostnamesOf(certificate: X509Certificate): readonly string[] {
  const entries = certificate.subjectAltName?.split(', ') ?? [];
  const names = entries.flatMap((entry) => (entry.startsWith('DNS:') ? [entry.slice('DNS:'.length)] : []));
  return names.flatMap((name) => {
    const wildcard = name.startsWith('*.');
    const hostname = hostnameOf(wildcard ? name.slice(2) : name);
    return hostname === undefined ? [] : [wildcard ? `*.${hostname}` : hostname];
  });
}

function read(file: string, what: string): Buffer {
  try {
    return readFileBytes(file);
  } catch (error) {
    throw new TunnelError('CONFIG_INVALID', `Cannot read ${what} ${file}: ${messageOf(error)}.`, { cause: error });
  }
}

function parseCertificate(file: string, pem: Buffer): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw unusable(file, 'it is no PEM certificate. Give the file with the whole chain (fullchain.pem)', error);
  }
}

function parseKey(file: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    const locked = pem.includes('ENCRYPTED');
    const state = locked ? 'it has a passphrase. Write it without: openssl pkey' : 'it is no PEM private key';
    throw unusable(file, state, error);
  }
}

function contextOf(files: PairFiles, cert: Buffer, key: Buffer): SecureContext {
  try {
    return serverContext(cert, key);
  } catch (error) {
    throw unusable(files.certFile, messageOf(error), error);
  }
}

function unusable(file: string, state: string, cause?: unknown): TunnelError {
  return new TunnelError('CONFIG_INVALID', `Cannot use ${file}: ${state}.`, { cause });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
