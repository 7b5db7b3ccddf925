/**
 * TlsWorker: a process that ends TLS for the relay's main process, and does nothing else: it gets visitors whose ClientHello
 * was read, makes the handshake with the certificate that it is told to, and passes plaintext on.
 *
 * It lives as long as its parent: when the channel between them breaks, it ends at once. Signals are the parent's business:
 * a terminal and systemd send them to both.
 *
 * Owns: its visitors, a TLS server for each certificate, one clock. Owned by: the verb `relay tls-worker`.
 */
import { rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { dirname } from 'node:path';
import { createServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import { tlsServerOptions } from '../../shared/certs/certificates.js';
import { Deadlines } from '../../shared/deadlines.js';
import { socketKey } from '../edge/socket-key.js';
import { type Signal, type SignalKind, SignalReader, signalBytes } from './hop-wire.js';
import type { HoldOrder, ServeOrder, StartOrder, WorkerOrder } from './worker-orders.js';
import { WorkerVisitor } from './worker-visitor.js';

/** Signals, both ways; its place among the descriptors is the parent's choice. */
export const SIGNAL_DESCRIPTOR = 4;

/** How long visitors may take to read the rest when the main process ends in order. */
const FINISH_MS = 2_000;

/** Tickets of one worker are good at the others: what binds them to this purpose must be the same everywhere. */
const SESSION_ID_CONTEXT = 'sallyport';

/** A certificate, with a server for each list of protocols that it is shown with. */
interface HeldCertificate {
  readonly pems: HoldOrder;
  readonly servers: Map<string, TlsServer>;
}

export class TlsWorker {
  readonly #signals: Socket;
  readonly #deadlines = new Deadlines();
  readonly #visitors = new Map<number, WorkerVisitor>();
  /** Those in their handshake, by their sockets' keys. */
  readonly #handshaking = new Map<string, WorkerVisitor>();
  readonly #certificates = new Map<number, HeldCertificate>();
  #settings: StartOrder | undefined;
  #state: 'running' | 'finishing' = 'running';

  constructor() {
    const reader = new SignalReader((signal) => this.#onSignal(signal));
    this.#signals = new Socket({ fd: SIGNAL_DESCRIPTOR });
    this.#signals.on('data', (chunk: Buffer) => reader.read(chunk));
    this.#signals.on('error', this.#onOrphaned).on('close', this.#onOrphaned);
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => {});
    process.on('disconnect', this.#onOrphaned);
    process.on('message', (order: WorkerOrder, socket: unknown) => this.#onOrder(order, socket));
  }

  #onOrder(order: WorkerOrder, socket: unknown): void {
    if (order.order === 'start') this.#start(order);
    else if (order.order === 'hold') this.#certificates.set(order.certificate, { pems: order, servers: new Map() });
    else if (order.order === 'forget') this.#certificates.delete(order.certificate);
    else if (order.order === 'finish') this.#finish();
    else this.#serve(order, socket);
  }

  #start(order: StartOrder): void {
    this.#settings = order;
    this.#tell('ready', 0);
  }

  #serve(order: ServeOrder, socket: unknown): void {
    const server = this.#serverFor(order);
    if (!(socket instanceof Socket) || server === undefined || this.#settings === undefined) {
      // It was gone before it could be sent.
      if (socket instanceof Socket) socket.destroy();
      this.#tell('failed', order.id, 'the visitor left');
      this.#tell('closed', order.id);
      return;
    }
    const key = socketKey(socket);
    const visitor = new WorkerVisitor(socket, {
      id: order.id,
      wantsExporter: order.wantsExporter,
      path: this.#settings.path,
      deadlines: this.#deadlines,
      tell: this.#tell,
      onOver: () => this.#onOver(visitor, key),
    });
    this.#visitors.set(order.id, visitor);
    this.#handshaking.set(key, visitor);
    socket.unshift(Buffer.from(order.hello, 'base64'));
    server.emit('connection', socket);
  }

  #serverFor({ certificate, protocols }: ServeOrder): TlsServer | undefined {
    const held = this.#certificates.get(certificate);
    const name = protocols.join();
    const known = held?.servers.get(name);
    if (known !== undefined || held === undefined) return known;
    const server = createServer({
      ...tlsServerOptions,
      cert: held.pems.cert,
      key: held.pems.key,
      ALPNCallback: ({ protocols: asked }) => protocols.find((protocol) => asked.includes(protocol)),
      handshakeTimeout: this.#settings?.handshakeMs,
      ticketKeys: Buffer.from(this.#settings?.ticketKeys ?? '', 'base64'),
      sessionIdContext: SESSION_ID_CONTEXT,
    });
    server.on('secureConnection', this.#onSecure);
    server.on('tlsClientError', this.#onTlsError);
    held.servers.set(name, server);
    return server;
  }

  readonly #onSecure = (tls: TLSSocket): void => {
    const key = socketKey(tls);
    const visitor = this.#handshaking.get(key);
    this.#handshaking.delete(key);
    if (visitor === undefined) tls.destroy();
    else visitor.secured(tls);
  };

  readonly #onTlsError = (error: Error, tls: TLSSocket): void => {
    this.#handshaking.get(socketKey(tls))?.failed(error.message);
    // After a handshake that took too long Node leaves this to us.
    tls.destroy();
  };

  #onOver(visitor: WorkerVisitor, key: string): void {
    this.#visitors.delete(visitor.id);
    if (this.#handshaking.get(key) === visitor) this.#handshaking.delete(key);
    if (this.#state === 'finishing' && this.#visitors.size === 0) exit();
  }

  #onSignal({ kind, id }: Signal): void {
    const visitor = this.#visitors.get(id);
    if (kind === 'aborted') visitor?.abort();
    else visitor?.letGo();
  }

  readonly #tell = (kind: SignalKind, id: number, text?: string): void => {
    this.#signals.write(signalBytes(kind, id, text));
  };

  /** The main process has died, and can no longer remove what it made for its workers. */
  readonly #onOrphaned = (): void => {
    if (this.#state === 'running' && this.#settings !== undefined) {
      rmSync(dirname(this.#settings.path), { recursive: true, force: true });
    }
    exit();
  };

  #finish(): void {
    this.#state = 'finishing';
    if (this.#visitors.size === 0) exit();
    setTimeout(exit, FINISH_MS);
  }
}

function exit(): void {
  process.exit(0);
}
