/**
 * A relay that says what the test wants: a real TLS server with a certificate that clients trust, WebSockets from `ws`,
 * and control messages and mux frames by hand.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import { LocalCa } from '../../relay-server/certs/local-ca.js';
import { type Opening, writeOpening } from '../../shared/opening.js';
import type { Message } from './hostile-link.js';
import { DATA, type Frame, frame, readFrames, SYN } from './mux-frames.js';
import { DOMAIN, type RelayHome } from './world.js';

/** One link of a client. */
export class FakeRelayLink {
  readonly webSocket: WebSocket;
  readonly messages: Message[] = [];
  /** True once the client has its session and its tunnel. */
  hasBegun = false;
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  #bytes: Buffer = Buffer.alloc(0);
  #newestId = 0;
  #isClosed = false;
  readonly #waiting = new Set<() => void>();

  constructor(webSocket: WebSocket) {
    this.webSocket = webSocket;
    webSocket.binaryType = 'nodebuffer';
    webSocket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.#bytes = Buffer.concat([this.#bytes, data]);
      else this.messages.push(JSON.parse(data.toString()));
      this.#wake();
    });
    webSocket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      webSocket.on('close', (code, reason) => {
        this.#isClosed = true;
        this.#wake();
        resolve({ code, reason: reason.toString() });
      });
    });
  }

  send(what: Message | string | Buffer): void {
    if (Buffer.isBuffer(what)) this.webSocket.send(what, { binary: true });
    else this.webSocket.send(typeof what === 'string' ? what : JSON.stringify(what));
  }

  challenge(nonce = randomBytes(32), more: Message = {}): void {
    this.send({ type: 'challenge', version: 1, nonce: nonce.toString('base64url'), relay: DOMAIN, ...more });
  }

  welcome(more: Message = {}): void {
    const limits = { heartbeatMs: 3_000, maxLinks: 1, maxTunnels: 64, maxStreams: 1_024 };
    this.send({ type: 'welcome', sessionId: 's', ...limits, agent: 'fake/1', ...more });
  }

  /** The honest beginning: challenge, proof, welcome, and every claim granted. */
  async begin(more: Message = {}): Promise<void> {
    this.challenge();
    await this.message('proof');
    this.welcome(more);
    const { name } = await this.message('claim');
    this.send({ type: 'claimed', name, url: `https://app.${DOMAIN}` });
    this.hasBegun = true;
  }

  /** The next message of this type. @throws when the link ends before. */
  message(type: string): Promise<Message> {
    return this.#find(`message ${type}`, () => {
      const at = this.messages.findIndex((message) => message.type === type);
      return at < 0 ? undefined : this.messages.splice(at, 1)[0];
    });
  }

  /** Opens a stream with these first bytes; returns its id. */
  open(bytes: Buffer, flags = SYN): number {
    this.#newestId += 2;
    this.send(frame(DATA, flags, this.#newestId, { payload: bytes }));
    return this.#newestId;
  }

  /** Opens a stream with an Opening for the tunnel `app` and this request. */
  openTo(opening: Partial<Opening>, request = ''): number {
    const head = writeOpening({
      tunnel: 'app',
      visitorAddress: '203.0.113.7',
      visitorPort: 50_000,
      publicAddress: '198.51.100.1',
      publicPort: 443,
      authority: `app.${DOMAIN}`,
      alpn: 'http/1.1',
      tlsVersion: 'TLSv1.3',
      id: 'id',
      ...opening,
    });
    return this.open(Buffer.concat([head, Buffer.from(request, 'latin1')]));
  }

  /** What the client sent on a stream so far, once there is some of it. */
  answer(id: number, bytes = 1): Promise<Buffer> {
    return this.#find(`${bytes} bytes on stream ${id}`, () => {
      const sent = Buffer.concat(
        this.frames.filter((each) => each.type === DATA && each.id === id).map((each) => each.payload),
      );
      return sent.length >= bytes ? sent : undefined;
    });
  }

  /** Every whole frame that the client sent. */
  get frames(): Frame[] {
    const bytes = this.#bytes;
    let end = 0;
    for (;;) {
      if (bytes.length - end < 12) break;
      const next = end + 12 + (bytes.readUInt8(end + 1) === DATA ? bytes.readUInt32BE(end + 8) : 0);
      if (next > bytes.length) break;
      end = next;
    }
    return readFrames(bytes.subarray(0, end));
  }

  async #find<T>(what: string, look: () => T | undefined): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.#isClosed) throw new Error(`link ended before ${what}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}

export class FakeRelay {
  readonly port: number;
  readonly links: FakeRelayLink[] = [];
  /** TCP connections so far. */
  connections = 0;
  readonly #onLink: (link: FakeRelayLink, number: number) => void;

  private constructor(server: Server, onLink: (link: FakeRelayLink, number: number) => void) {
    this.port = (server.address() as AddressInfo).port;
    this.#onLink = onLink;
  }

  /** `onLink` is called with each link and its number; `onUpgrade` answers the opening requests instead when it is given. */
  static async start(
    t: TestContext,
    home: RelayHome,
    onLink: (link: FakeRelayLink, number: number) => void,
    onUpgrade?: (socket: Socket, number: number) => boolean,
  ): Promise<FakeRelay> {
    const ca = await LocalCa.open(home.config.stateDir);
    t.after(() => ca.close());
    await ca.prepare(DOMAIN);
    const server = createServer({ SNICallback: (name, done) => done(null, ca.contextFor(name)) });
    const acceptor = new WebSocketServer({ noServer: true, handleProtocols: () => 'sallyport.v1' });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const relay = new FakeRelay(server, onLink);
    const sockets = new Set<Socket>();
    server.on('secureConnection', (socket: Socket) => {
      relay.connections += 1;
      sockets.add(socket);
      socket.on('error', () => {});
    });
    server.on('upgrade', (request, socket: Socket, head) => {
      if (onUpgrade?.(socket, relay.connections - 1)) return;
      acceptor.handleUpgrade(request, socket, head, (webSocket) => relay.#accept(webSocket));
    });
    t.after(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    return relay;
  }

  #accept(webSocket: WebSocket): void {
    const link = new FakeRelayLink(webSocket);
    this.links.push(link);
    this.#onLink(link, this.links.length - 1);
  }
}
