/**
 * ServerContext: how a certificate and its key become what TLS uses. What they were made of is kept beside it, for a process
 * that ends TLS in the name of this one (relay-server/workers); OpenSSL gives a key out to nobody.
 *
 * Owns nothing: who drops a context drops its key with it.
 */
import { createSecureContext, type SecureContext } from 'node:tls';
import { Secret } from '../secret.js';
import { tlsServerOptions } from './certificates.js';

/** A certificate with its chain, and its key; both PEM. */
export interface ServerPems {
  readonly cert: string;
  readonly key: Secret;
}

const pems = new WeakMap<SecureContext, ServerPems>();

/** A context with the options of every server of ours. @throws what OpenSSL says of a pair that it cannot use. */
export function serverContext(cert: string | Buffer, key: string | Buffer): SecureContext {
  const context = createSecureContext({ ...tlsServerOptions, cert, key });
  pems.set(context, { cert: cert.toString(), key: new Secret(key.toString()) });
  return context;
}

/** What the context was made of; undefined when it was made elsewhere. */
export function pemsOf(context: SecureContext): ServerPems | undefined {
  return pems.get(context);
}
