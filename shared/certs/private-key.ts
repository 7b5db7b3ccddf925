/**
 * Private keys: decides which keys certificates and accounts have. P-256 unless somebody asks for RSA, which a few old
 * visitors need. Owns nothing.
 */
import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';
import { Secret } from '../secret.js';

export type KeyType = 'p256' | 'rsa2048' | 'rsa4096';

const generate = promisify(generateKeyPair);

/** A new private key, PKCS#8 PEM. */
export async function makePrivateKey(type: KeyType = 'p256'): Promise<Secret> {
  const { privateKey } =
    type === 'p256'
      ? await generate('ec', { namedCurve: 'P-256' })
      : await generate('rsa', { modulusLength: type === 'rsa2048' ? 2048 : 4096 });
  return new Secret(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
}
