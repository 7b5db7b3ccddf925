/**
 * The one door to `acme-client`: decides which parts of it we use, and their types.
 *
 * Loaded when a certificate is ordered, because it takes 0.2 s. `Client.api` and `Client.http` are public in its code and
 * absent from its types; they are what lets us bring our own transport, nonce retries, ARI and profiles. Its version is
 * pinned. Owns nothing.
 */
import { createHash } from 'node:crypto';
import type { Secret } from '../secret.js';
import type { AcmeAnswer } from './acme-transport.js';

/** acme-client's signed requests (RFC 8555 §6.2) and key. */
export interface AcmeHttp {
  request(url: string, method: string, options?: { data?: unknown }): Promise<AcmeAnswer>;
  maxBadNonceRetries: number;
  getDirectory(): Promise<unknown>;
  getJwk(): object;
  createSignedBody(url: string, payload: object): object;
}

/** acme-client's requests by resource. */
export interface AcmeApi {
  accountUrl: string | null;
  apiRequest(url: string, payload: object | null, validStatusCodes: readonly number[]): Promise<AcmeAnswer>;
  createAccount(data: object): Promise<AcmeAnswer>;
  createOrder(data: object): Promise<AcmeAnswer>;
  updateAccountKey(data: object): Promise<AcmeAnswer>;
}

export interface AcmeClient {
  readonly http: AcmeHttp;
  readonly api: AcmeApi;
}

export interface AcmeClientOptions {
  readonly directoryUrl: string;
  readonly accountKey: string;
  readonly accountUrl?: string;
  /** RFC 8555 §7.3.4. */
  readonly externalAccountBinding?: { readonly kid: string; readonly hmacKey: string };
}

/** A client that has asked nothing yet. */
export async function makeAcmeClient(options: AcmeClientOptions): Promise<AcmeClient> {
  const { Client } = await import('acme-client');
  return new Client(options) as unknown as AcmeClient;
}

/** A certificate request (PKCS#10 DER) for these names, the names in the SAN alone. */
export async function makeCsr(keyPem: Secret, hostnames: readonly string[]): Promise<Buffer> {
  const { crypto } = await import('acme-client');
  const [, pem] = await crypto.createCsr({ altNames: [...hostnames] }, keyPem.reveal());
  return Buffer.from(pem.toString().replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
}

/** The certificate that answers TLS-ALPN-01 (RFC 8737 §3); PEM. */
export async function makeAlpnCertificate(hostname: string, keyAuthorization: string, keyPem: Secret): Promise<string> {
  const { crypto } = await import('acme-client');
  type Authorization = Parameters<typeof crypto.createAlpnCertificate>[0];
  const authorization = { identifier: { type: 'dns', value: hostname } } as Authorization;
  const [, pem] = await crypto.createAlpnCertificate(authorization, keyAuthorization, keyPem.reveal());
  return pem.toString();
}

/** RFC 8555 §8.1. */
export function keyAuthorizationOf(token: string, jwk: object): string {
  // acme-client's JWK has its members in the order that RFC 7638 wants.
  return `${token}.${createHash('sha256').update(JSON.stringify(jwk)).digest('base64url')}`;
}
