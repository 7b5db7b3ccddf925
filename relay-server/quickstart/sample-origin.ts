/**
 * SampleOrigin: the small web app that `npm start` puts behind its tunnel, so that there is something to look at.
 *
 * It shows each request as an origin sees it and offers one address per kind of traffic: a page, JSON, server-sent
 * events, a WebSocket, upload and download of any size. Loopback only; it is a demonstration, not a service.
 *
 * Owns: one HTTP server and its sockets. Owned by: the quickstart, or a test.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { acceptEcho } from './sample-echo.js';
import { type Fact, samplePage, samplePagePolicy } from './sample-page.js';

export interface SampleOrigin {
  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  readonly url: string;
  readonly port: number;
  /** Ends every connection and frees the port; safe to call again. */
  close(): Promise<void>;
}

/** Largest N of `/bytes/N`. */
const DOWNLOAD_LIMIT = 1024 ** 3;
/** One block of noise, repeated: random enough that nothing on the way can compress it within its window. */
const NOISE = randomBytes(64 * 1024);
const EVENT_INTERVAL_MS = 1_000;

type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

const handlers: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  ['GET /', sendPage],
  ['GET /headers', sendHeaders],
  ['GET /events', sendEvents],
  ['GET /bytes/N', sendBytes],
  ['POST /echo', sendEcho],
  ['POST /sink', sendCount],
]);

/** Starts the sample origin on 127.0.0.1; port 0 takes a free one. */
export async function startSampleOrigin(port = 0): Promise<SampleOrigin> {
  // A tunnel must be able to carry uploads of any length, so no time limit on whole requests.
  const server = createServer({ requestTimeout: 0 }, (request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  const upgraded = trackUpgrades(server);
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address() as AddressInfo;
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
      for (const socket of upgraded) socket.destroy();
    });
  return { url: `http://127.0.0.1:${address.port}`, port: address.port, close };
}

/** Node's server forgets upgraded sockets; this set remembers them for `close`. */
function trackUpgrades(server: Server): ReadonlySet<Duplex> {
  const sockets = new Set<Duplex>();
  server.on('upgrade', (request, socket, head) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    acceptEcho(request, socket, head);
  });
  return sockets;
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  response.setHeader('Cache-Control', 'no-store');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  const method = request.method === 'HEAD' ? 'GET' : request.method;
  const [path = '/'] = (request.url ?? '/').split('?');
  const key = path.startsWith('/bytes/') ? `${method} /bytes/N` : `${method} ${path}`;
  await (handlers.get(key) ?? sendNotFound)(request, response);
}

function sendPage(request: IncomingMessage, response: ServerResponse): void {
  response.setHeader('Content-Security-Policy', samplePagePolicy);
  response.setHeader('Content-Type', 'text/html; charset=utf-8');
  const throughTunnel = request.headers['x-forwarded-for'] !== undefined;
  response.end(samplePage(describeRequest(request), throughTunnel));
}

/** The facts that tell where a request came from, in the order of the page. */
function describeRequest(request: IncomingMessage): Fact[] {
  const field = (name: string): string => String(request.headers[name] ?? '–');
  return [
    ['Request', `${request.method} ${request.url} HTTP/${request.httpVersion}`],
    ['Host', field('host')],
    ['X-Forwarded-For', field('x-forwarded-for')],
    ['X-Forwarded-Proto', field('x-forwarded-proto')],
    ['X-Forwarded-Host', field('x-forwarded-host')],
    ['Forwarded', field('forwarded')],
    ['X-Request-Id', field('x-request-id')],
    ['Connected from', `${request.socket.remoteAddress}:${request.socket.remotePort}`],
  ];
}

function sendHeaders(request: IncomingMessage, response: ServerResponse): void {
  const { method, url, httpVersion, headers, rawHeaders, socket } = request;
  sendJson(response, 200, { method, url, httpVersion, headers, rawHeaders, remoteAddress: socket.remoteAddress });
}

/** Server-sent events (WHATWG HTML §9.2): one at once, then one each second, until the visitor leaves. */
function sendEvents(request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  if (request.method === 'HEAD') {
    response.end();
    return;
  }
  let id = 0;
  const tick = (): void => {
    id += 1;
    response.write(`id: ${id}\ndata: ${new Date().toISOString()}\n\n`);
  };
  const timer = setInterval(tick, EVENT_INTERVAL_MS);
  response.on('close', () => clearInterval(timer));
  tick();
}

async function sendEcho(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const length = request.headers['content-length'];
  if (length !== undefined) response.setHeader('Content-Length', length);
  response.setHeader('Content-Type', 'application/octet-stream');
  await pipeline(request, response);
}

/** Reads an upload to its end and says how long it was. */
async function sendCount(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const startedAt = performance.now();
  let bytes = 0;
  for await (const chunk of request) bytes += (chunk as Buffer).length;
  sendJson(response, 200, { bytes, ms: Math.round(performance.now() - startedAt) });
}

/** `/bytes/N`: exactly N bytes, at the pace of the reader. */
async function sendBytes(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const text = /^\/bytes\/(\d{1,10})(?:\?|$)/.exec(request.url ?? '')?.[1];
  const length = text === undefined ? Number.NaN : Number(text);
  if (!(length <= DOWNLOAD_LIMIT)) {
    sendJson(response, 404, { error: `Cannot send that: /bytes/N takes N from 0 to ${DOWNLOAD_LIMIT}.` });
    return;
  }
  response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': length });
  if (request.method === 'HEAD') response.end();
  else await pipeline(Readable.from(noise(length), { objectMode: false }), response);
}

function* noise(length: number): Generator<Buffer> {
  for (let left = length; left > 0; left -= NOISE.length) yield left < NOISE.length ? NOISE.subarray(0, left) : NOISE;
}

function sendNotFound(request: IncomingMessage, response: ServerResponse): void {
  sendJson(response, 404, {
    error: `Cannot find ${request.method} ${request.url}.`,
    try: [...handlers.keys()],
  });
}

function sendJson(response: ServerResponse, status: number, document: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8' });
  response.end(`${JSON.stringify(document, null, 2)}\n`);
}
