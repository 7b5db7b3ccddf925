/** Two ends of a link over real loopback sockets, with and without TLS, and handlers that remember what they heard. */
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { TunnelError } from '../../shared/errors.js';
import { dialLink, type Link, LinkAcceptor, type LinkHandler } from '../../shared/link.js';
import { openingRequest, RawReader } from './raw-web-socket.js';
import { testCertificate } from './test-certificate.js';

export type Scheme = 'http' | 'https';

/** Remembers everything; emits `change` whenever something happens. */
export class LinkLog extends EventEmitter implements LinkHandler {
  readonly messages: string[] = [];
  /** Bytes, in pieces as they came. */
  readonly chunks: Buffer[] = [];
  byteCount = 0;
  sent = 0;
  readonly closes: TunnelError[] = [];
  /** Lanes in the order in which things arrived: `t` and `b`. */
  lanes = '';

  onMessage(text: string): void {
    this.messages.push(text);
    this.lanes += 't';
    this.emit('change');
  }

  onBytes(chunk: Buffer): void {
    this.chunks.push(Buffer.from(chunk));
    this.byteCount += chunk.length;
    this.lanes += 'b';
    this.emit('change');
  }

  onSent(): void {
    this.sent += 1;
    this.emit('change');
  }

  onClose(error: TunnelError): void {
    this.closes.push(error);
    this.emit('change');
  }

  /** Resolves once `done` is true; it is looked at whenever something happens. */
  async until(done: (log: LinkLog) => boolean): Promise<void> {
    while (!done(this)) await once(this, 'change');
  }

  /** Waits for the end of the link. */
  async closed(): Promise<TunnelError> {
    await this.until((log) => log.closes.length > 0);
    const [error] = this.closes;
    assert.ok(error);
    return error;
  }
}

/** A batch as the mux makes one: `payload` behind the link's headroom. */
export function batch(link: Link, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.alloc(link.headroomBytes, 0xee), payload]);
}

/** A server that accepts links on a free loopback port. */
export class LinkServer {
  readonly server: Server;
  readonly ca: string;
  readonly scheme: Scheme;
  /** The sockets beneath accepted links, oldest first. */
  readonly sockets: Socket[] = [];
  readonly links: Link[] = [];
  readonly logs: LinkLog[] = [];
  readonly #events = new EventEmitter();
  readonly #acceptor = new LinkAcceptor();

  private constructor(server: Server, scheme: Scheme, ca: string) {
    this.server = server;
    this.scheme = scheme;
    this.ca = ca;
    server.on('upgrade', (request, socket: Duplex, head) => {
      this.sockets.push(socket as Socket);
      this.#acceptor.accept(request, socket, head, this.#onLink);
    });
  }

  static async listen(t: TestContext, scheme: Scheme): Promise<LinkServer> {
    const { ca, ...keyAndCertificate } = await testCertificate();
    const server = scheme === 'https' ? createTlsServer(keyAndCertificate) : createServer();
    const linkServer = new LinkServer(server, scheme, ca);
    t.after(() => linkServer.close());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return linkServer;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): URL {
    return new URL(`${this.scheme}://localhost:${this.port}`);
  }

  /** A socket to this server, with TLS where it speaks TLS. */
  connect(): Socket {
    const to = { host: '127.0.0.1', port: this.port };
    return this.scheme === 'https' ? connectTls({ ...to, servername: 'localhost', ca: this.ca }) : connect(to);
  }

  dial(options: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<Link> {
    return dialLink({
      url: this.url,
      connect: () => this.connect(),
      timeoutMs: 5_000,
      agent: 'test/1',
      signal: new AbortController().signal,
      ...options,
    });
  }

  /** A client by hand whose handshake is over: it shows the bytes which the relay's end sends. */
  async rawClient(t: TestContext): Promise<{ socket: Socket; reader: RawReader }> {
    const socket = this.connect();
    t.after(() => socket.destroy());
    socket.on('error', () => {});
    const reader = new RawReader(socket);
    socket.write(openingRequest());
    assert.match(await reader.head(), /^HTTP\/1\.1 101/);
    return { socket, reader };
  }

  /** The link that was accepted as number `index`, with its log. */
  async accepted(index = 0): Promise<{ link: Link; log: LinkLog; socket: Socket }> {
    while (this.links.length <= index) await once(this.#events, 'link');
    const [link, log, socket] = [this.links[index], this.logs[index], this.sockets[index]];
    assert.ok(link && log && socket);
    return { link, log, socket };
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    this.server.closeAllConnections();
    if (this.server.listening) await new Promise((resolve) => this.server.close(resolve));
  }

  readonly #onLink = (link: Link): void => {
    const log = new LinkLog();
    link.handler = log;
    this.links.push(link);
    this.logs.push(log);
    this.#events.emit('link');
  };
}

export interface LinkPair {
  readonly server: LinkServer;
  readonly relay: Link;
  readonly relayLog: LinkLog;
  /** The relay's socket. */
  readonly socket: Socket;
  readonly client: Link;
  readonly clientLog: LinkLog;
}

/** A link that is open at both ends. */
export async function linkPair(t: TestContext, scheme: Scheme): Promise<LinkPair> {
  const server = await LinkServer.listen(t, scheme);
  const client = await server.dial();
  const clientLog = new LinkLog();
  client.handler = clientLog;
  const { link, log, socket } = await server.accepted();
  return { server, relay: link, relayLog: log, socket, client, clientLog };
}
