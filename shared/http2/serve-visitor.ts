/**
 * ServeVisitor: which protocols a visitor is offered inside TLS, and who serves the one that it chose.
 */
import type { Socket } from 'node:net';
import { HttpConnection } from '../http/http-connection.js';
import type { HttpSite, SiteConnection } from '../http/http-site.js';
import { Http2Connection } from './http2-connection.js';

/** curl --http1.0 offers nothing but its own name, and a list without it is a fatal alert (RFC 7301 §3.2). */
const HTTP1_PROTOCOLS: readonly string[] = ['http/1.1', 'http/1.0'];
const HTTP2_PROTOCOLS: readonly string[] = ['h2', ...HTTP1_PROTOCOLS];

/** Names for ALPN, best first. */
export function offeredProtocols(http2: boolean): readonly string[] {
  return http2 ? HTTP2_PROTOCOLS : HTTP1_PROTOCOLS;
}

/**
 * Serves a connection after its TLS handshake; it belongs to whom this returns.
 * @param alpn the protocol that the handshake agreed on.
 */
export function serveVisitor(socket: Socket, alpn: string, site: HttpSite): SiteConnection {
  const http2 = alpn === 'h2';
  // A half-close means something after an upgrade. In HTTP/2 it is the visitor's end.
  socket.allowHalfOpen = !http2;
  return http2 ? new Http2Connection(socket, site) : new HttpConnection(socket, site);
}
