/**
 * Splice: joins a socket and a stream, bytes both ways, with back-pressure and half-close. It decides how an end travels:
 * a half-close becomes a half-close, an abort becomes an abort, at once and in both directions.
 *
 * Owns: the socket and the stream from the moment it is made. Owned by: nobody; it lives as long as they do.
 */
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import type { BorrowedReads } from './bytes/borrowed-reads.js';
import type { ByteStream, ByteStreamHandler } from './bytes/byte-stream.js';
import type { Deadlines, Watched } from './deadlines.js';
import { TunnelError } from './errors.js';

/** Payload bytes in each direction. */
export interface SpliceTraffic {
  toSocketBytes: number;
  fromSocketBytes: number;
}

export interface SpliceOptions {
  readonly deadlines: Deadlines;
  /** Ends the splice after this long without a byte in either direction; Infinity: never. */
  readonly idleMs: number;
  /** How the socket is read; absent: by its 'data' events. */
  readonly reads?: BorrowedReads;
  /** Bytes that go to the stream in front of the socket's first ones, in the same frame; with its end if it sends none. */
  readonly preface?: Buffer;
  /** Where bytes are counted. */
  readonly traffic?: SpliceTraffic;
  /** The splice is over; called once. `error` is undefined when both ends finished. */
  readonly onClose?: (error: TunnelError | undefined) => void;
}

export class Splice implements ByteStreamHandler, Watched {
  readonly #socket: Duplex;
  readonly #stream: ByteStream;
  readonly #options: SpliceOptions;
  readonly #traffic: SpliceTraffic;
  #preface: Buffer | undefined;
  #idleAtMs: number;
  #socketError: Error | undefined;
  #error: TunnelError | undefined;
  #streamEnded = false;
  #state: 'open' | 'closed' = 'open';

  constructor(socket: Duplex, stream: ByteStream, options: SpliceOptions) {
    this.#socket = socket;
    this.#stream = stream;
    this.#options = options;
    this.#traffic = options.traffic ?? { toSocketBytes: 0, fromSocketBytes: 0 };
    this.#preface = options.preface;
    this.#idleAtMs = options.deadlines.nowMs + options.idleMs;
    options.deadlines.watch(this);
    if (options.reads === undefined) socket.on('data', this.#onSocketData);
    else options.reads.onBytes = this.#onBorrowed;
    socket.on('drain', this.#onSocketDrain);
    socket.on('end', this.#onSocketEnd);
    socket.on('error', this.#onSocketError);
    socket.on('close', this.#onSocketClose);
    stream.handler = this;
    if (socket.destroyed) this.#onSocketClose();
    else if (!stream.alive) this.onClose(new TunnelError('STREAM_RESET', 'Stream was over before it was joined'));
    else this.#flow();
  }

  /** Ends both sides now. Safe in any state. */
  destroy(error: TunnelError): void {
    this.#error ??= error;
    this.#stream.reset(error);
    this.#socket.destroy();
  }

  onData(piece: Buffer): void {
    this.#touch();
    this.#traffic.toSocketBytes += piece.length;
    if (!this.#socket.write(piece)) this.#stream.pause();
  }

  onEnd(): void {
    this.#streamEnded = true;
    this.#socket.end();
  }

  onDrain(): void {
    this.#socket.resume();
  }

  onClose(error: TunnelError | undefined): void {
    if (error === undefined) return;
    this.#error ??= error;
    abortSocket(this.#socket);
  }

  onTick(nowMs: number): void {
    if (nowMs >= this.#idleAtMs) this.destroy(new TunnelError('LIMIT_EXCEEDED', 'Connection was idle for too long'));
  }

  #flow(): void {
    if (this.#socket.writableNeedDrain) this.#stream.pause();
    else this.#stream.resume();
    this.#socket.resume();
  }

  #touch(): void {
    this.#idleAtMs = this.#options.deadlines.nowMs + this.#options.idleMs;
  }

  readonly #onSocketData = (piece: Buffer): void => {
    this.#note(piece);
    if (!this.#stream.write(piece)) this.#socket.pause();
  };

  readonly #onBorrowed = (bytes: Buffer): void => {
    this.#note(bytes);
    if (!this.#stream.writeCopy(bytes)) this.#socket.pause();
  };

  #note(bytes: Buffer): void {
    this.#touch();
    this.#traffic.fromSocketBytes += bytes.length;
    if (this.#preface !== undefined) this.#sendPreface();
  }

  readonly #onSocketDrain = (): void => {
    this.#stream.resume();
  };

  #sendPreface(): void {
    if (this.#preface !== undefined) this.#stream.write(this.#preface);
    this.#preface = undefined;
  }

  readonly #onSocketEnd = (): void => {
    this.#sendPreface();
    this.#stream.end();
  };

  readonly #onSocketError = (error: Error): void => {
    this.#socketError = error;
  };

  readonly #onSocketClose = (): void => {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#options.deadlines.unwatch(this);
    const finished = this.#streamEnded && this.#socket.readableEnded && this.#socket.writableFinished;
    if (!finished || this.#socketError !== undefined) {
      const cause = this.#socketError;
      this.#error ??= new TunnelError('STREAM_RESET', `Connection ended early${cause ? `: ${cause.message}` : ''}`, {
        cause,
      });
      this.#stream.reset(this.#error);
    }
    this.#options.onClose?.(this.#error);
  };
}

/** Ends a connection so that the other party cannot take it for an orderly end: with an RST where plain TCP has one. */
export function abortSocket(socket: Duplex): void {
  const plainTcp = socket instanceof Socket && !(socket instanceof TLSSocket) && socket.remotePort !== undefined;
  if (plainTcp) socket.resetAndDestroy();
  else socket.destroy();
}
