/**
 * SoakOrigin: the service behind the tunnels of a soak: pages, bulk in both directions, events, WebSocket and TCP echo. It
 * can go away and come back on the same ports.
 *
 * Owns: its servers and their sockets. Owned by: SoakWorld.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net';
import { setInterval as every } from 'node:timers/promises';
import { WebSocketServer } from 'ws';
import { bytesOf, sha256 } from './random.js';

const EVENTS = 10;
const EVENT_MS = 300;

export class SoakOrigin {
  readonly #sockets = new Set<Socket>();
  #http: Server | undefined;
  #tcp: TcpServer | undefined;
  #ports = { http: 0, tcp: 0 };

  get ports(): { readonly http: number; readonly tcp: number } {
    return this.#ports;
  }

  /** On the ports that it had before, if it had any. */
  async start(): Promise<void> {
    const http = createServer((request, response) => void serve(request, response));
    const tcp = createTcpServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket).on('error', () => {}));
    const echo = new WebSocketServer({ server: http });
    echo.on('connection', (socket) => {
      socket.on('error', () => {});
      socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    });
    for (const server of [http, tcp]) server.on('connection', (socket: Socket) => this.#keep(socket));
    this.#ports = { http: await listen(http, this.#ports.http), tcp: await listen(tcp, this.#ports.tcp) };
    this.#http = http;
    this.#tcp = tcp;
  }

  /** Gone at once, with every connection. */
  stop(): void {
    this.#http?.close();
    this.#tcp?.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
  }
}

async function listen(server: TcpServer, port: number): Promise<number> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://origin');
  try {
    if (url.pathname === '/bulk') response.end(bytesOf(number(url, 'seed'), number(url, 'bytes')));
    else if (url.pathname === '/upload') response.end(await digestOf(request));
    else if (url.pathname === '/events') await sendEvents(response);
    else response.end(`page ${url.pathname}`);
  } catch {
    response.destroy();
  }
}

async function digestOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece);
  return sha256(Buffer.concat(pieces));
}

async function sendEvents(response: ServerResponse): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  let count = 0;
  for await (const _ of every(EVENT_MS)) {
    if (response.destroyed) return;
    count += 1;
    response.write(`data: ${count}\n\n`);
    if (count === EVENTS) break;
  }
  response.end();
}

function number(url: URL, name: string): number {
  return Number(url.searchParams.get(name) ?? 0);
}
