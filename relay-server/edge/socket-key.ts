/**
 * SocketKey: what names a connection while it is open. A TLS socket has no way back to the TCP socket beneath it, but the
 * two have the same key.
 */
import type { Socket } from 'node:net';

/** The addresses and ports of both ends. */
export function socketKey(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;
}
