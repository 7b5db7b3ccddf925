/**
 * Local authority: decides where the local CA's own key and certificate come from.
 *
 * Both are made on first use and never replaced: clients and browsers trust this very certificate. Of several processes
 * that start at once the first one's key and certificate win, and the others use them. Damaged, incomplete or readable by
 * others is refused, with the cure. Owns: `ca.pem` and `ca-key.pem`. Owned by: LocalCa.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { TunnelError } from '../../shared/errors.js';
import { checkPrivate, createFileExclusive, isCode, makePrivateFolder } from '../../shared/files/atomic-file.js';
import { readFileBytes } from '../../shared/files/bounded-file.js';

const DAY_MS = 86_400_000;
const LIFE_MS = 3_653 * DAY_MS;
/** Home servers without a battery clock start in the past. */
const BACKDATED_MS = DAY_MS;
/** For anybody to read, as far as the folder lets them in. */
const PUBLIC_FILE = 0o644;

/** A private key (PKCS#8) and its certificate, both PEM. */
export interface KeyAndCertificate {
  readonly keyPem: string;
  readonly certPem: string;
}

/** The folder of the local CA. */
export function localCaFolder(stateDir: string): string {
  return path.join(stateDir, 'local-ca');
}

/** Where the CA's certificate stands, for `curl --cacert` and for join lines. */
export function localCaFile(stateDir: string): string {
  return path.join(localCaFolder(stateDir), 'ca.pem');
}

/**
 * The CA of this state folder, made when there is none.
 * @param nowMs milliseconds since 1970.
 * @throws {TunnelError} CONFIG_INVALID when its files cannot be used.
 */
export async function openAuthority(stateDir: string, nowMs: number): Promise<KeyAndCertificate> {
  const certFile = localCaFile(stateDir);
  const keyFile = path.join(localCaFolder(stateDir), 'ca-key.pem');
  makePrivateFolder(localCaFolder(stateDir));
  if (!fs.existsSync(certFile)) await makeMissing(keyFile, certFile, nowMs);
  const keyPem = readKey(keyFile, certFile);
  const certPem = readText(certFile);
  const problem = problemOf(keyPem, certPem, nowMs);
  if (problem !== undefined) throw unusable(certFile, problem);
  return { keyPem, certPem };
}

/** A certificate's end in milliseconds since 1970. */
export function expiryOf(certificate: X509Certificate): number {
  return Date.parse(certificate.validTo);
}

async function makeMissing(keyFile: string, certFile: string, nowMs: number): Promise<void> {
  const { makeCaCertificate, makeKey } = await import('./local-issuer.js');
  if (!fs.existsSync(keyFile)) createFileExclusive(keyFile, await makeKey());
  const validity = { fromMs: nowMs - BACKDATED_MS, toMs: nowMs - BACKDATED_MS + LIFE_MS };
  // The key may be another process's, which is as good: its certificate must not differ from ours in the key.
  const certPem = await makeCaCertificate(readKey(keyFile, certFile), validity);
  createFileExclusive(certFile, certPem, { mode: PUBLIC_FILE });
}

function readKey(keyFile: string, certFile: string): string {
  const state = fs.statSync(keyFile, { throwIfNoEntry: false });
  if (!state) throw unusable(certFile, `its key ${path.basename(keyFile)} is missing`);
  checkPrivate(keyFile, state.mode);
  return readText(keyFile);
}

function readText(file: string): string {
  try {
    return readFileBytes(file).toString();
  } catch (error) {
    if (!isCode(error, 'EACCES')) throw unusable(file, messageOf(error), error);
    const cure = 'Run the relay as the owner of the state folder.';
    throw new TunnelError('CONFIG_INVALID', `Cannot read ${file}: this user may not. ${cure}`, { cause: error });
  }
}

function problemOf(keyPem: string, certPem: string, nowMs: number): string | undefined {
  try {
    const certificate = new X509Certificate(certPem);
    if (!certificate.ca) return 'it is no CA certificate';
    if (!certificate.checkPrivateKey(createPrivateKey(keyPem))) return 'it does not belong to ca-key.pem';
    if (nowMs >= expiryOf(certificate)) return `it expired on ${certificate.validTo}`;
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function unusable(file: string, state: string, cause?: unknown): TunnelError {
  const folder = path.dirname(file);
  const cure = `Restore ${folder} from a backup, or remove it to make a new CA: then every client must join again`;
  return new TunnelError('CONFIG_INVALID', `Cannot use local CA ${file}: ${state}. ${cure}.`, { cause });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
