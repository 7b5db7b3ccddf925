/** A real TLS handshake over a loopback socket, for tests of certificates. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import * as tls from 'node:tls';
import { type CertificateSource, tlsServerOptions } from '../../shared/certs/certificates.js';

export interface Handshake {
  readonly certificate: tls.PeerCertificate;
  readonly protocol: string | null;
  readonly cipher: string;
  /** Why the client does not trust the certificate; undefined when it does. */
  readonly distrust: string | undefined;
}

/** A TLS server that shows the source's certificates as the edge does; returns its port. */
export async function startTlsServer(t: Pick<TestContext, 'after'>, source: CertificateSource): Promise<number> {
  const server = tls.createServer(
    { ...tlsServerOptions, SNICallback: (name, done) => done(null, source.contextFor(name)) },
    (socket) => {
      socket.on('error', () => {});
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok');
    },
  );
  server.on('tlsClientError', () => {});
  t.after(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Connects with this SNI. @throws when the server refuses the handshake. */
export async function shakeHands(
  port: number,
  servername: string,
  options: tls.ConnectionOptions = {},
): Promise<Handshake> {
  const socket = tls.connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false, ...options });
  try {
    await once(socket, 'secureConnect');
    return {
      certificate: socket.getPeerCertificate(),
      protocol: socket.getProtocol(),
      cipher: socket.getCipher().standardName,
      distrust: socket.authorized ? undefined : String(socket.authorizationError),
    };
  } finally {
    socket.destroy();
  }
}
