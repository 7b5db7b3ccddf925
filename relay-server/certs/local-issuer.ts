/**
 * Local issuer: decides what the certificates of the local CA say (RFC 5280). The one door to `@peculiar/x509`, which
 * takes 0.1 s to load; LocalCa therefore loads this file only when something must be signed.
 *
 * The CA carries no name constraints: the hostnames of a relay come from its grants, which may lie in any domain and
 * grow later, while clients and browsers have trusted the CA once. Pure but for randomness.
 */
import { randomBytes, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const { keyCertSign, cRLSign, digitalSignature } = x509.KeyUsageFlags;
/** Longest common name (RFC 5280, ub-common-name); clients read the SAN alone. */
const MAX_COMMON_NAME = 64;

/** When a certificate is valid, in milliseconds since 1970. */
export interface Validity {
  readonly fromMs: number;
  readonly toMs: number;
}

/** A new P-256 private key, PKCS#8 PEM. */
export async function makeKey(): Promise<string> {
  const pair = await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
  return toPem('PRIVATE KEY', await webcrypto.subtle.exportKey('pkcs8', pair.privateKey));
}

/** A certificate authority for this key, signed by itself; PEM. It may sign server certificates, no further CAs. */
export async function makeCaCertificate(keyPem: string, validity: Validity): Promise<string> {
  const keys = await importKeys(keyPem);
  const keyId = await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      ...common(validity),
      name: [{ CN: [`Sallyport local CA ${keyId.keyId.slice(0, 8)}`] }],
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(keyCertSign | cRLSign, true),
        keyId,
      ],
    },
    webcrypto,
  );
  return `${certificate.toString('pem')}\n`;
}

/** A server certificate for exactly this hostname or `*.` wildcard, signed by the CA; PEM. */
export async function makeServerCertificate(
  ca: { readonly certPem: string; readonly keyPem: string },
  hostname: string,
  keyPem: string,
  validity: Validity,
): Promise<string> {
  const issuer = new x509.X509Certificate(ca.certPem);
  const [caKeys, keys] = await Promise.all([importKeys(ca.keyPem), importKeys(keyPem)]);
  const certificate = await x509.X509CertificateGenerator.create(
    {
      ...common(validity),
      subject: [{ CN: [hostname.length <= MAX_COMMON_NAME ? hostname : 'Sallyport'] }],
      issuer: issuer.subjectName,
      publicKey: keys.publicKey,
      signingKey: caKeys.privateKey,
      extensions: [
        new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: hostname }]),
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
        await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return `${certificate.toString('pem')}\n`;
}

function common(validity: Validity) {
  return {
    serialNumber: positiveSerial(),
    notBefore: new Date(validity.fromMs),
    notAfter: new Date(validity.toMs),
    signingAlgorithm: P256,
  };
}

/** 127 random bits that are never negative nor led by a zero byte (RFC 5280 §4.1.2.2). */
function positiveSerial(): string {
  const serial = randomBytes(16);
  serial.writeUInt8((serial.readUInt8(0) & 0x7f) | 0x40, 0);
  return serial.toString('hex');
}

async function importKeys(keyPem: string): Promise<webcrypto.CryptoKeyPair> {
  const der = Buffer.from(keyPem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
  const privateKey = await webcrypto.subtle.importKey('pkcs8', der, P256, true, ['sign']);
  const { kty, crv, x, y } = await webcrypto.subtle.exportKey('jwk', privateKey);
  const publicJwk = { kty, crv, x, y } as webcrypto.JsonWebKey;
  return { privateKey, publicKey: await webcrypto.subtle.importKey('jwk', publicJwk, P256, true, ['verify']) };
}

function toPem(label: string, der: ArrayBuffer): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
