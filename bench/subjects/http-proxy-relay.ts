/**
 * A relay for the bench alone: node:https takes the visitors, http-proxy forwards each request, and its agent gets
 * streams of our mux instead of sockets. One client, no handshake, no limits.
 *
 * Arguments: certificate file, key file. Says `listening PORT`.
 */
import { readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { createServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import httpProxy from 'http-proxy';
import { tlsServerOptions } from '../../shared/certs/certificates.js';
import { TunnelError } from '../../shared/errors.js';
import { freeBuffersAtOnce } from '../../shared/garbage-collection.js';
import { LinkAcceptor } from '../../shared/link.js';
import { LiveLink } from '../../shared/live-link.js';
import { asDuplex } from '../../shared/mux/stream-duplex.js';
import { VISITOR_HOST } from '../certificate.js';
import { linkOptions } from './http-proxy-link.js';

let link: LiveLink | undefined;

/** Keeps streams as it would keep sockets; the two hooks that it overrides call methods that only sockets have. */
class StreamAgent extends Agent {
  override createConnection(): Duplex {
    if (link === undefined) throw new TunnelError('TUNNEL_OFFLINE', 'Cannot forward request: no client is here');
    const stream = asDuplex(link.openStream());
    // As a socket does it: what the origin has closed cannot carry another request.
    stream.once('end', () => stream.end());
    return stream;
  }

  override keepSocketAlive(): boolean {
    return true;
  }

  override reuseSocket(): void {}
}

freeBuffersAtOnce();
const [cert = '', key = ''] = process.argv.slice(2);
const proxy = httpProxy.createProxyServer({
  target: `http://${VISITOR_HOST}`,
  agent: new StreamAgent({ keepAlive: true }),
  xfwd: true,
});
const acceptor = new LinkAcceptor();
const server = createServer({ ...tlsServerOptions, cert: readFileSync(cert), key: readFileSync(key), noDelay: true });
server.on('request', (request, response) => proxy.web(request, response));
server.on('upgrade', (request, socket: Duplex, head) => {
  (socket as Socket).setNoDelay(true);
  acceptor.accept(request, socket, head, (accepted) => {
    link = new LiveLink(accepted, linkOptions('relay'));
  });
});
proxy.on('error', (_error, _request, response) => response.destroy());
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') console.log(`listening ${address.port}`);
});
