/**
 * ChallengeHandshakes: answers a CA that proves a hostname by a TLS handshake (TLS-ALPN-01, RFC 8737). The certificate of
 * the handshake is the answer: no byte of a protocol follows, and the connection ends.
 *
 * Owns: connections in such a handshake, which end with it, or when it takes too long. Owned by: Edge.
 */
import type { Socket } from 'node:net';
import { createServer, type SecureContext, type TLSSocket, type Server as TlsServer } from 'node:tls';
import { tlsServerOptions } from '../../shared/certs/certificates.js';
import { ACME_ALPN } from '../../shared/certs/tls-alpn-solver.js';

export interface ChallengeHandshakesOptions {
  /** For a whole handshake. */
  readonly handshakeMs: number;
  /** The answer for this SNI; undefined when no challenge runs for it, and then the handshake fails. */
  readonly contextFor: (serverName: string) => SecureContext | undefined;
}

export class ChallengeHandshakes {
  readonly #tls: TlsServer;

  constructor({ handshakeMs, contextFor }: ChallengeHandshakesOptions) {
    this.#tls = createServer(
      {
        ...tlsServerOptions,
        ALPNProtocols: [ACME_ALPN],
        handshakeTimeout: handshakeMs,
        SNICallback: (serverName, done) => done(null, contextFor(serverName)),
      },
      onSecure,
    );
    this.#tls.on('tlsClientError', onError);
  }

  /** Takes over a connection whose ClientHello, still unread, offers `acme-tls/1`. */
  accept(socket: Socket): void {
    socket.allowHalfOpen = false;
    this.#tls.emit('connection', socket);
  }
}

function onSecure(socket: TLSSocket): void {
  socket.on('error', () => socket.destroy());
  socket.end(() => socket.destroy());
}

function onError(_error: Error, socket: TLSSocket): void {
  socket.destroy();
}
