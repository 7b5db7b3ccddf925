/** Origins for tests: node:http ones, and raw ones whose every byte the test decides. They end with the test. */
import { once } from 'node:events';
import { createServer as createHttpServer, type Server as HttpServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { Conversation } from './conversation.js';

export interface HttpOrigin {
  /** As tunnel.yaml names it. */
  readonly url: string;
  readonly port: number;
  readonly server: HttpServer;
  /** Connections accepted so far. */
  connections: number;
}

export async function startHttpOrigin(t: Pick<TestContext, 'after'>, onRequest: RequestListener): Promise<HttpOrigin> {
  const server = createHttpServer(onRequest);
  const port = await listen(t, server);
  const origin: HttpOrigin = { url: `http://127.0.0.1:${port}`, port, server, connections: 0 };
  server.on('connection', () => {
    origin.connections += 1;
  });
  t.after(() => server.closeAllConnections());
  return origin;
}

export interface RawOrigin {
  readonly port: number;
  /** Every connection so far, the oldest first. */
  readonly connections: Conversation[];
  /** Resolves with the connection of this number (0 is the first), now or later. */
  connection(number: number): Promise<Conversation>;
}

export interface RawOriginOptions {
  /** Called with each connection and its number; a failed wait in it ends the connection. */
  readonly onConnection?: (connection: Conversation, number: number) => void | Promise<void>;
  /** False to close as soon as the peer half-closes. */
  readonly allowHalfOpen?: boolean;
}

export async function startRawOrigin(
  t: Pick<TestContext, 'after'>,
  options: RawOriginOptions = {},
): Promise<RawOrigin> {
  const connections: Conversation[] = [];
  const waiting: (() => void)[] = [];
  const server = createServer({ allowHalfOpen: options.allowHalfOpen ?? true, noDelay: true }, (socket) => {
    const connection = new Conversation(socket);
    connections.push(connection);
    for (const wake of waiting.splice(0)) wake();
    const handled = options.onConnection?.(connection, connections.length - 1);
    handled?.catch(() => socket.destroy());
  });
  const port = await listen(t, server);
  endConnections(t, server);
  const connection = async (number: number) => {
    for (;;) {
      const found = connections[number];
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
  };
  return { port, connections, connection };
}

/** Listens on a port of loopback, a free one when left out, until the test ends. */
export async function listen(t: Pick<TestContext, 'after'>, server: Server, port = 0): Promise<number> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Ends the server's connections with the test. */
export function endConnections(t: Pick<TestContext, 'after'>, server: Server): void {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
}
