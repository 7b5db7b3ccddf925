/**
 * Traffic: the visitors of a soak, about 50 requests a second of every kind, each checked byte by byte. A visitor that fails
 * comes again; what became of each request is the ledger's.
 *
 * Owns: the visitors' sockets. Owned by: main.ts.
 */
import { once, setMaxListeners } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Agent, type RequestOptions, request } from 'node:https';
import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { type Ledger, Unanswered, WrongBytes } from './ledger.js';
import { bytesOf, type Random, sha256 } from './random.js';
import { HOST, type SoakWorld } from './world.js';

const DEADLINE_MS = 60_000;
const SLOW_PIECE_MS = 50;
const MIB = 1 << 20;
const KEPT_ALIVE = 8;

type Act = (signal: AbortSignal) => Promise<void>;

export class Traffic {
  readonly #world: SoakWorld;
  readonly #ledger: Ledger;
  readonly #random: Random;
  readonly #agent: Agent;
  readonly #freshAgent: Agent;
  readonly #stop = new AbortController();
  #loops: Promise<void>[] = [];
  #count = 0;

  constructor(world: SoakWorld, ledger: Ledger, random: Random) {
    this.#world = world;
    this.#ledger = ledger;
    this.#random = random;
    const where = { host: '127.0.0.1', port: world.ports.https, servername: HOST, ca: world.ca };
    this.#agent = new Agent({ ...where, keepAlive: true, maxSockets: KEPT_ALIVE });
    this.#freshAgent = new Agent({ ...where, keepAlive: false, maxCachedSessions: 0 });
  }

  start(): void {
    // Each visitor that pauses listens.
    setMaxListeners(0, this.#stop.signal);
    for (let n = 0; n < KEPT_ALIVE; n += 1)
      this.#loop('kept-alive get', 200, (signal) => this.#page(this.#agent, signal));
    this.#loop('fresh get', 250, (signal) => this.#page(this.#freshAgent, signal));
    this.#loop('download', 2_000, (signal) => this.#download(MIB, 0, signal));
    this.#loop('upload', 2_000, (signal) => this.#upload(signal));
    this.#loop('events', 500, (signal) => this.#events(signal));
    this.#loop('slow download', 1_000, (signal) => this.#download(4 * MIB, SLOW_PIECE_MS, signal));
    for (let n = 0; n < 2; n += 1) this.#loop('websocket', 500, (signal) => this.#webSocket(signal));
    this.#loop('raw tcp', 500, (signal) => this.#rawTcp(signal));
  }

  /** Resolves when every request has ended. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#loops);
    this.#agent.destroy();
    this.#freshAgent.destroy();
  }

  /** Whether a visitor is served now. */
  async isServed(): Promise<boolean> {
    const signal = AbortSignal.timeout(3_000);
    return Promise.all([this.#page(this.#freshAgent, signal), this.#rawTcp(signal)]).then(
      () => true,
      () => false,
    );
  }

  #loop(kind: string, everyMs: number, act: Act): void {
    const run = async (): Promise<void> => {
      while (!this.#stop.signal.aborted) {
        await this.#attempt(kind, act);
        await pause(everyMs * (0.5 + this.#random.next()), undefined, { signal: this.#stop.signal }).catch(() => {});
      }
    };
    this.#loops.push(run());
  }

  async #attempt(kind: string, act: Act): Promise<void> {
    const fromMs = performance.now();
    const deadline = AbortSignal.timeout(DEADLINE_MS);
    try {
      await Promise.race([act(deadline), aborted(deadline)]);
      this.#ledger.note(kind, fromMs, undefined);
    } catch (error) {
      this.#ledger.note(kind, fromMs, deadline.aborted ? new Unanswered(`nothing in ${DEADLINE_MS} ms`) : error);
    }
  }

  async #page(agent: Agent, signal: AbortSignal): Promise<void> {
    this.#count += 1;
    const path = `/p${this.#count}`;
    const body = await bodyOf(await this.#ask({ agent, path, signal }));
    if (body.toString() !== `page ${path}`) throw new WrongBytes(`page ${path} has ${body.length} other bytes`);
  }

  async #download(bytes: number, pieceMs: number, signal: AbortSignal): Promise<void> {
    const seed = this.#random.between(1, 1e9);
    const response = await this.#ask({ agent: this.#freshAgent, path: `/bulk?seed=${seed}&bytes=${bytes}`, signal });
    const body = await bodyOf(response, pieceMs);
    if (sha256(body) !== sha256(bytesOf(seed, bytes))) throw new WrongBytes(`download of ${bytes} gave ${body.length}`);
  }

  async #upload(signal: AbortSignal): Promise<void> {
    const bytes = bytesOf(this.#random.between(1, 1e9), MIB);
    const response = await this.#ask({ agent: this.#freshAgent, path: '/upload', method: 'POST', signal }, bytes);
    const digest = (await bodyOf(response)).toString();
    if (digest !== sha256(bytes)) throw new WrongBytes(`upload arrived as ${digest}`);
  }

  async #events(signal: AbortSignal): Promise<void> {
    const body = await bodyOf(await this.#ask({ agent: this.#freshAgent, path: '/events', signal }));
    const expected = Array.from({ length: 10 }, (_, index) => `data: ${index + 1}\n\n`).join('');
    if (body.toString() !== expected) throw new WrongBytes(`events were ${JSON.stringify(body.toString())}`);
  }

  async #webSocket(signal: AbortSignal): Promise<void> {
    const where = { port: this.#world.ports.https, servername: HOST, ca: this.#world.ca, headers: { host: HOST } };
    const socket = new WebSocket(`wss://127.0.0.1:${where.port}/echo`, where);
    // Each wait hears of it as well.
    socket.on('error', () => {});
    const end = () => socket.terminate();
    signal.addEventListener('abort', end);
    try {
      await heard(socket, 'open');
      for (let n = 0; n < 20; n += 1) {
        const sent = bytesOf(this.#random.between(1, 1e9), 4 * this.#random.between(1, 4_000));
        socket.send(sent);
        const [echo] = await heard(socket, 'message');
        if (!Buffer.isBuffer(echo) || !echo.equals(sent)) throw new WrongBytes('a WebSocket echo differs');
        await pause(100);
      }
      socket.close();
      await heard(socket, 'close');
    } finally {
      signal.removeEventListener('abort', end);
      socket.terminate();
    }
  }

  async #rawTcp(signal: AbortSignal): Promise<void> {
    const sent = bytesOf(this.#random.between(1, 1e9), 65_536);
    const socket = connect({ port: this.#world.ports.tcp, host: '127.0.0.1', signal });
    socket.end(sent);
    const pieces: Buffer[] = [];
    for await (const piece of socket) pieces.push(piece);
    const echo = Buffer.concat(pieces);
    if (!echo.equals(sent)) throw new WrongBytes(`${sent.length} bytes of TCP came back as ${echo.length}`);
  }

  /** Rejects for every answer that is none of the origin's. */
  async #ask(options: RequestOptions, body?: Buffer): Promise<IncomingMessage> {
    const asked = request({ ...options, headers: { host: HOST } });
    const answered = once(asked, 'response');
    asked.end(body);
    const [response] = (await answered) as [IncomingMessage];
    // An early refusal of an upload may break off its rest.
    asked.on('error', () => {});
    if (response.statusCode === 200) return response;
    response.on('error', () => {});
    response.resume();
    throw new Error(
      `${options.path} was answered ${response.statusCode} ${response.headers['x-sallyport-error'] ?? ''}`,
    );
  }
}

/** A visitor that does not even end when told counts as unanswered. */
async function aborted(signal: AbortSignal): Promise<never> {
  await once(signal, 'abort');
  throw signal.reason;
}

async function bodyOf(response: IncomingMessage, pieceMs = 0): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of response) {
    pieces.push(piece);
    if (pieceMs > 0) await pause(pieceMs);
  }
  return Buffer.concat(pieces);
}

/** The next event of this name; rejects when the socket ends first. */
async function heard(socket: WebSocket, event: 'open' | 'message' | 'close'): Promise<unknown[]> {
  if (socket.readyState === WebSocket.CLOSED) {
    // Nothing more comes: it ended while nobody listened.
    if (event === 'close') return [];
    throw new Error('the WebSocket was closed');
  }
  const stop = new AbortController();
  const ended = once(socket, 'close', { signal: stop.signal }).then((args): unknown[] => {
    if (event === 'close') return args;
    throw new Error('the WebSocket was closed');
  });
  ended.catch(() => {});
  try {
    return event === 'close' ? await ended : await Promise.race([once(socket, event, { signal: stop.signal }), ended]);
  } finally {
    stop.abort();
  }
}
