/** A WebSocket server of the `ws` package as origin, and `ws` clients that reach it as visitors of the tunnel. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { TestContext } from 'node:test';
import { type ClientOptions, WebSocket, WebSocketServer } from 'ws';
import { APP } from './carry.js';
import { endConnections, listen } from './origins.js';
import type { RunningRelay } from './world.js';

export interface WebSocketOrigin {
  readonly url: string;
  /** The HTTP server beneath: requests that ask for no upgrade get its `request` listeners. */
  readonly server: Server;
  /** The next WebSocket that a visitor opens. */
  accepted(): Promise<WebSocket>;
}

/** Messages up to 64 MiB; compression is agreed where the visitor offers it. */
export async function startWebSocketOrigin(t: Pick<TestContext, 'after'>): Promise<WebSocketOrigin> {
  const server = createServer();
  const sockets = new WebSocketServer({ server, maxPayload: 64 * 1024 * 1024, perMessageDeflate: true });
  const url = `http://127.0.0.1:${await listen(t, server)}`;
  endConnections(t, server);
  return { url, server, accepted: async () => (await once(sockets, 'connection'))[0] as WebSocket };
}

/** Sends every message back as it came. */
export function echo(socket: WebSocket): void {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
}

/** An open WebSocket through the tunnel. */
export async function openWebSocket(
  t: Pick<TestContext, 'after'>,
  relay: RunningRelay,
  options: ClientOptions = {},
): Promise<WebSocket> {
  const socket = new WebSocket(`wss://${APP}:${relay.port('https')}/socket`, {
    ca: relay.home.ca,
    // The system may not know names under .localhost.
    lookup: (_hostname, wanted, done) => {
      if (typeof wanted === 'object' && wanted.all) done(null, [{ address: '127.0.0.1', family: 4 }]);
      else done(null, '127.0.0.1', 4);
    },
    perMessageDeflate: false,
    ...options,
  });
  t.after(() => socket.terminate());
  await once(socket, 'open');
  return socket;
}
