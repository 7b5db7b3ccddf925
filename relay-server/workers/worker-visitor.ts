/**
 * WorkerVisitor: one visitor inside a TLS worker: its handshake, and then its plaintext to the main process and back, with
 * back-pressure and half-close. What cannot be said by an end is said by a signal (hop-wire.ts).
 *
 *   handshaking → joined → over        joined: the connection to the main process is open, or being opened
 *
 * Owns: the visitor's socket and the connection to the main process. Owned by: TlsWorker.
 */
import { connect, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { returnBlock, takeBlock } from '../../shared/bytes/blocks.js';
import { BorrowedReads } from '../../shared/bytes/borrowed-reads.js';
import type { Deadlines, Watched } from '../../shared/deadlines.js';
import { LINK_EXPORTER_BYTES, LINK_EXPORTER_LABEL } from '../../shared/link.js';
import { greetingBytes, type SignalKind } from './hop-wire.js';

/** A copy up to this size gets memory of its own: a block would be mostly empty. */
const SMALL_COPY_BYTES = 2 * 1024;

/** How long a visitor may take to read the rest once the main process has said all. */
const LAST_WORDS_MS = 60_000;

export interface WorkerVisitorOptions {
  readonly id: number;
  readonly wantsExporter: boolean;
  /** The unix socket of the main process. */
  readonly path: string;
  readonly deadlines: Deadlines;
  readonly tell: (kind: SignalKind, id: number, text?: string) => void;
  /** Its connection is gone. Called once. */
  readonly onOver: (visitor: WorkerVisitor) => void;
}

export class WorkerVisitor implements Watched {
  readonly id: number;
  readonly #options: WorkerVisitorOptions;
  readonly #socket: Socket;
  #state: 'handshaking' | 'joined' | 'over' = 'handshaking';
  #failure = 'the visitor left';
  #tls: TLSSocket | undefined;
  #hop: Socket | undefined;
  readonly #reads = new BorrowedReads();
  /** The main process hears nothing more. */
  #isUnheard = false;
  #endsAtMs = Number.POSITIVE_INFINITY;

  /** `socket` is on its way through a handshake; `secured` or `failed` follows, or its 'close'. */
  constructor(socket: Socket, options: WorkerVisitorOptions) {
    this.id = options.id;
    this.#options = options;
    this.#socket = socket;
    socket.on('error', ignore);
    socket.once('close', this.#onSocketClose);
  }

  /** The handshake did not succeed; the socket's 'close' follows. */
  failed(reason: string): void {
    this.#failure = reason;
  }

  /** The handshake is done. */
  secured(tls: TLSSocket): void {
    const { path, wantsExporter } = this.#options;
    this.#state = 'joined';
    this.#tls = tls;
    tls.allowHalfOpen = true;
    tls.on('error', ignore);
    tls.once('close', this.#onTlsClose);
    const hop = connect({ path, allowHalfOpen: true, onread: this.#reads.onread });
    this.#reads.onBytes = this.#onHopBytes;
    this.#hop = hop;
    const exporter = wantsExporter
      ? tls.exportKeyingMaterial(LINK_EXPORTER_BYTES, LINK_EXPORTER_LABEL, Buffer.alloc(0))
      : Buffer.alloc(0);
    hop.write(greetingBytes({ id: this.id, version: tls.getProtocol() ?? '', alpn: tls.alpnProtocol || '', exporter }));
    hop.on('error', ignore);
    hop.on('drain', this.#onHopDrain);
    hop.on('end', this.#onHopEnd);
    hop.once('close', this.#onHopClose);
    tls.on('data', this.#onTlsData);
    tls.on('drain', this.#onTlsDrain);
    tls.on('end', this.#onTlsEnd);
  }

  /** The main process cut the connection. */
  abort(): void {
    if (this.#tls === undefined) this.#socket.destroy();
    else this.#tls.destroy();
  }

  /** The main process has said all, perhaps not yet read here, and listens no more. */
  letGo(): void {
    this.#isUnheard = true;
    // A write would fail, and with it what is still to be read would be lost.
    this.#tls?.off('data', this.#onTlsData).off('end', this.#onTlsEnd).resume();
    this.#endsAtMs = this.#options.deadlines.nowMs + LAST_WORDS_MS;
    this.#options.deadlines.watch(this);
    if (this.#tls?.writableFinished) this.#tls.destroy();
    else this.#tls?.once('finish', () => this.#tls?.destroy());
  }

  onTick(nowMs: number): void {
    if (nowMs >= this.#endsAtMs) this.abort();
  }

  readonly #onTlsData = (piece: Buffer): void => {
    if (this.#hop?.write(piece) === false) this.#tls?.pause();
  };

  readonly #onHopDrain = (): void => {
    this.#tls?.resume();
  };

  readonly #onTlsEnd = (): void => {
    this.#hop?.end();
  };

  /** Borrowed: TLS may encrypt them later. */
  readonly #onHopBytes = (bytes: Buffer): void => {
    if (this.#writeCopy(bytes) === false) this.#hop?.pause();
  };

  #writeCopy(bytes: Buffer): boolean | undefined {
    if (bytes.length <= SMALL_COPY_BYTES) return this.#tls?.write(Buffer.from(bytes));
    const block = takeBlock();
    bytes.copy(block);
    return this.#tls?.write(block.subarray(0, bytes.length), () => returnBlock(block));
  }

  readonly #onTlsDrain = (): void => {
    this.#hop?.resume();
  };

  /** A signal that left before this end was read in this turn of the event loop, if there is one. */
  readonly #onHopEnd = (): void => {
    setImmediate(() => this.#tls?.end());
  };

  /** Before both sides have ended: the main process is gone, or cannot be reached. */
  readonly #onHopClose = (): void => {
    if (this.#hop?.readableEnded !== true) this.#tls?.destroy();
  };

  readonly #onTlsClose = (): void => {
    const { tell } = this.#options;
    const isOrderly = this.#tls?.readableEnded === true && this.#tls.writableFinished;
    if (!isOrderly && !this.#isUnheard) tell('aborted', this.id);
    // What the visitor said at last may still be on its way; the main process ends the connection when it has read that.
    if (!isOrderly) this.#hop?.destroy();
    this.#end();
  };

  readonly #onSocketClose = (): void => {
    if (this.#state !== 'handshaking') return;
    this.#options.tell('failed', this.id, this.#failure);
    this.#end();
  };

  #end(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#options.deadlines.unwatch(this);
    this.#options.tell('closed', this.id);
    this.#options.onOver(this);
  }
}

function ignore(): void {}
