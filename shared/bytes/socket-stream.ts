/**
 * SocketStream: a ByteStream over a socket, for the HTTP exchange that runs in the same process as the dial: where the
 * client ends TLS itself, no mux lies between the visitor's request and the origin.
 *
 * Owns: the socket. Owned by: the exchange or splice that uses it.
 */
import type { Duplex } from 'node:stream';
import { TunnelError } from '../errors.js';
import { abortSocket, type SpliceTraffic } from '../splice.js';
import type { ByteStream, ByteStreamHandler } from './byte-stream.js';

export class SocketStream implements ByteStream {
  handler: ByteStreamHandler | undefined;
  readonly #socket: Duplex;
  readonly #traffic: SpliceTraffic;
  #state: 'open' | 'closed' = 'open';
  #socketError: Error | undefined;

  /** `socket` is connected and nobody reads it yet; the stream starts paused, as a MuxStream does. */
  constructor(socket: Duplex, traffic: SpliceTraffic) {
    this.#socket = socket;
    this.#traffic = traffic;
    socket.pause();
    socket.on('data', this.#onSocketData);
    socket.on('end', () => this.handler?.onEnd());
    socket.on('drain', () => this.handler?.onDrain());
    socket.on('error', this.#onSocketError);
    socket.on('close', this.#onSocketClose);
  }

  get alive(): boolean {
    return this.#state === 'open' && !this.#socket.destroyed;
  }

  write(piece: Buffer): boolean {
    if (!this.alive || this.#socket.writableEnded) return false;
    this.#traffic.toSocketBytes += piece.length;
    return this.#socket.write(piece);
  }

  writeCopy(borrowed: Buffer): boolean {
    return this.write(Buffer.from(borrowed));
  }

  end(): void {
    if (this.alive) this.#socket.end();
  }

  reset(error = new TunnelError('STREAM_RESET', 'Stream reset by this end')): void {
    if (this.#state === 'closed') return;
    this.#close(error);
    abortSocket(this.#socket);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  readonly #onSocketData = (piece: Buffer): void => {
    this.#traffic.fromSocketBytes += piece.length;
    this.handler?.onData(piece);
  };

  readonly #onSocketError = (error: Error): void => {
    this.#socketError = error;
  };

  readonly #onSocketClose = (): void => {
    if (this.#state === 'closed') return;
    const finished = this.#socket.readableEnded && this.#socket.writableFinished && this.#socketError === undefined;
    const cause = this.#socketError;
    this.#close(finished ? undefined : new TunnelError('STREAM_RESET', 'The origin cut the connection', { cause }));
  };

  #close(error: TunnelError | undefined): void {
    this.#state = 'closed';
    this.handler?.onClose(error);
  }
}
