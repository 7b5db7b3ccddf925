/**
 * A client that speaks the link protocol by hand: it may say anything, in any order, and it shows what the relay answers.
 * WebSocket frames come from `ws`, everything above them from the test.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { TestContext } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import type { Secret } from '../../shared/secret.js';
import { parseToken, proofPayload } from '../../shared/token.js';
import { ACK, DATA, type Frame, frame, SYN, WINDOW_UPDATE } from './mux-frames.js';
import { DOMAIN, type RunningRelay } from './world.js';

const LABEL = 'EXPORTER-sallyport-link-v1';

export type Message = Readonly<Record<string, unknown>>;

/** What a proof says and what its signature covers; each may be a lie. */
export interface ProofLies {
  readonly tokenId?: string;
  readonly clientId?: string;
  readonly sessionId?: string;
  readonly exporter?: Buffer;
  readonly signature?: Buffer;
  readonly version?: number;
  readonly signed?: {
    readonly relay?: string;
    readonly nonce?: Buffer;
    readonly tokenId?: string;
    readonly clientId?: string;
    readonly sessionId?: string;
    readonly exporter?: Buffer;
  };
}

export class HostileLink {
  readonly socket: TLSSocket;
  readonly webSocket: WebSocket;
  /** Control messages that nobody has taken yet. */
  readonly messages: Message[] = [];
  /** Mux frames that nobody has taken yet. */
  readonly frames: Frame[] = [];
  /** The relay's close frame, or 1006 and '' when the connection just ended. */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  #bytes: Buffer = Buffer.alloc(0);
  #isClosed = false;
  #wake: () => void = () => {};

  private constructor(socket: TLSSocket, webSocket: WebSocket) {
    this.socket = socket;
    this.webSocket = webSocket;
    webSocket.binaryType = 'nodebuffer';
    webSocket.on('message', (data: Buffer, isBinary) => this.#onMessage(data, isBinary));
    webSocket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      webSocket.on('close', (code, reason) => {
        this.#isClosed = true;
        this.#wake();
        resolve({ code, reason: reason.toString() });
      });
    });
  }

  /** A WebSocket to the relay, before any message of ours. `from` is an address of loopback. */
  static async open(t: Pick<TestContext, 'after'>, relay: RunningRelay, from = '127.0.0.1'): Promise<HostileLink> {
    const tcp = connect({ host: '127.0.0.1', port: relay.port('https'), localAddress: from, noDelay: true });
    const socket = connectTls({ socket: tcp, servername: DOMAIN, ca: relay.home.ca });
    t.after(() => void socket.destroy());
    await once(socket, 'secureConnect');
    const webSocket = new WebSocket(`wss://${DOMAIN}/.sallyport/link`, ['sallyport.v1'], {
      createConnection: () => socket,
      perMessageDeflate: false,
      maxPayload: 1 << 20,
    });
    const link = new HostileLink(socket, webSocket);
    await once(webSocket, 'open');
    return link;
  }

  /** One with a session: its proof is right. */
  static async proven(
    t: Pick<TestContext, 'after'>,
    relay: RunningRelay,
    token: Secret,
    lies: ProofLies = {},
    from?: string,
  ): Promise<HostileLink> {
    const link = await HostileLink.open(t, relay, from);
    link.send(await link.proof(token, lies));
    await link.message('welcome');
    return link;
  }

  /** What only the two ends of this TLS connection know. */
  get exporter(): Buffer {
    return this.socket.exportKeyingMaterial(32, LABEL, Buffer.alloc(0));
  }

  /** The nonce of the challenge, which is taken. */
  async nonce(): Promise<Buffer> {
    const { nonce } = await this.message('challenge');
    return Buffer.from(String(nonce), 'base64url');
  }

  /** Answers the challenge; right in everything but the lies. */
  async proof(token: Secret, lies: ProofLies = {}): Promise<Message> {
    const nonce = await this.nonce();
    const key = parseToken(token);
    const said = {
      tokenId: lies.tokenId ?? key.id,
      clientId: lies.clientId ?? 'hostile',
      sessionId: lies.sessionId ?? '',
      exporter: lies.exporter ?? this.exporter,
    };
    const signature = lies.signature ?? key.sign(proofPayload({ relay: DOMAIN, nonce, ...said, ...lies.signed }));
    return {
      type: 'proof',
      version: lies.version ?? 1,
      ...said,
      exporter: said.exporter.toString('base64url'),
      signature: signature.toString('base64url'),
      agent: 'hostile/1',
    };
  }

  /** Text for texts and objects, binary for buffers. */
  send(what: Message | string | Buffer): void {
    if (Buffer.isBuffer(what)) this.webSocket.send(what, { binary: true });
    else this.webSocket.send(typeof what === 'string' ? what : JSON.stringify(what));
  }

  /** The next message of this type; those before it are thrown away. @throws when the link ends before. */
  async message(type: string): Promise<Message> {
    for (;;) {
      const message = this.messages.shift();
      if (message?.type === type) return message;
      if (message === undefined) await this.#change(`message ${type}`);
    }
  }

  /** Claims a tunnel; the relay's answer. */
  async claim(claim: Message): Promise<Message> {
    this.send({ type: 'claim', ...claim });
    for (;;) {
      const at = this.messages.findIndex(
        ({ type, name }) => /claimed|denied/.test(String(type)) && name === claim.name,
      );
      const [answer] = at < 0 ? [] : this.messages.splice(at, 1);
      if (answer !== undefined) return answer;
      await this.#change(`answer to the claim of ${String(claim.name)}`);
    }
  }

  /** The next stream that the relay opens, with the first bytes on it: Opening and request. */
  async stream(): Promise<Frame> {
    for (;;) {
      const next = this.frames.shift();
      if (next !== undefined && next.type === DATA && (next.flags & SYN) !== 0) return next;
      if (next === undefined) await this.#change('stream');
    }
  }

  /** Bytes on a stream that the relay opened, in one frame. */
  answer(id: number, text: string | Buffer, flags = 0): void {
    this.send(frame(DATA, flags, id, { payload: typeof text === 'string' ? Buffer.from(text, 'latin1') : text }));
  }

  /** Accepts the stream, says "connected", and answers with these bytes. */
  async answerNext(text: string): Promise<number> {
    const { id } = await this.stream();
    this.send(frame(WINDOW_UPDATE, ACK, id));
    this.answer(id, `\0${text}`);
    return id;
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    if (isBinary) this.#readFrames(data);
    else this.messages.push(JSON.parse(data.toString()));
    this.#wake();
  }

  #readFrames(data: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, data]);
    for (;;) {
      const bytes = this.#bytes;
      if (bytes.length < 12) return;
      const type = bytes.readUInt8(1);
      const length = bytes.readUInt32BE(8);
      const end = 12 + (type === DATA ? length : 0);
      if (bytes.length < end) return;
      const payload = bytes.subarray(12, end);
      this.frames.push({ type, flags: bytes.readUInt16BE(2), id: bytes.readUInt32BE(4), length, payload });
      this.#bytes = bytes.subarray(end);
    }
  }

  async #change(what: string): Promise<void> {
    if (this.#isClosed) throw new Error(`link ended before ${what}`);
    const before = this.#wake;
    await new Promise<void>((resolve) => {
      this.#wake = () => {
        before();
        resolve();
      };
    });
    if (this.#isClosed && this.messages.length === 0 && this.frames.length === 0) {
      throw new Error(`link ended before ${what}`);
    }
  }
}
