/**
 * Certbot import: decides how certificates that certbot got (`/etc/letsencrypt/live/NAME`) come into our store, so that a
 * change of programs costs no order. Certbot's files are read and left as they are. Owns nothing.
 */
import { createPrivateKey } from 'node:crypto';
import * as path from 'node:path';
import { TunnelError } from '../errors.js';
import { readTextFile } from '../files/bounded-file.js';
import { hostnameOf } from '../hostname.js';
import { Secret } from '../secret.js';
import type { CertificateStore } from './certificate-store.js';
import { belongsTo, type ChainFacts, factsOf } from './issued-chain.js';

const MAX_BYTES = 1 << 20;

/**
 * Keeps the certificate of a `live` folder under each of its names.
 * @param folder with `fullchain.pem` and `privkey.pem`.
 * @param ca name of the CA's folder in the store: IMPORTED_CA, unless it is one that is configured.
 * @returns the names.
 * @throws {TunnelError} CONFIG_INVALID when the files cannot be used, or the certificate has expired.
 */
export async function importCertbot(
  store: CertificateStore,
  ca: string,
  folder: string,
  signal: AbortSignal,
  nowMs = Date.now(),
): Promise<readonly string[]> {
  const chainFile = path.join(folder, 'fullchain.pem');
  const chainPem = readTextFile(chainFile, MAX_BYTES, 'certificate').text;
  const keyPem = readKey(path.join(folder, 'privkey.pem'));
  const facts = checked(chainFile, chainPem, keyPem);
  if (facts.notAfterMs <= nowMs) throw unusable(chainFile, `it expired on ${new Date(facts.notAfterMs).toISOString()}`);
  const names = facts.hostnames.filter((name) => hostnameOf(name.replace(/^\*\./, '')) !== undefined);
  for (const name of names) {
    const lock = await store.lock(name, signal);
    try {
      const known = store.newest(name);
      if (known && known.notAfterMs >= facts.notAfterMs) continue;
      store.save(ca, name, { chainPem, keyPem, record: { issuedAtMs: facts.notBeforeMs } });
    } finally {
      lock.release();
    }
  }
  return names;
}

/** Certbot writes PKCS#8; acme.sh and older certbots wrote other forms. */
function readKey(file: string): Secret {
  const { text } = readTextFile(file, MAX_BYTES, 'private key');
  try {
    return new Secret(createPrivateKey(text).export({ type: 'pkcs8', format: 'pem' }).toString());
  } catch {
    throw unusable(file, 'it holds no private key without a passphrase');
  }
}

function checked(file: string, chainPem: string, keyPem: Secret): ChainFacts {
  try {
    if (belongsTo(chainPem, keyPem)) return factsOf(chainPem);
  } catch (error) {
    throw unusable(file, error instanceof Error ? error.message : String(error));
  }
  throw unusable(file, 'it does not belong to privkey.pem beside it');
}

function unusable(file: string, state: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', `Cannot import ${file}: ${state}.`);
}
