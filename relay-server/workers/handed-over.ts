/**
 * HandedOver: one visitor whose TLS a worker ends, as the main process sees it: first the handshake is awaited, then the
 * visitor's plaintext is a connection over a unix socket, which belongs to whoever serves it.
 *
 *   handshaking → served → over        over: the visitor's connection is gone, or the worker is
 *
 * The visitor's TCP socket, which is a worker's now, leaves an empty Socket behind. That one stays the visitor in all the
 * counts and limits of the relay, and is closed when the worker says that the visitor is gone; when somebody here closes
 * it, the visitor goes.
 *
 * Owns: that stand-in. Owned by: TlsWorkers.
 */
import type { Socket } from 'node:net';
import type { SecureContext } from 'node:tls';
import type { HopGreeting, Signal, SignalKind } from './hop-wire.js';

/** A handshake for somebody else to make. */
export interface Handshake {
  /** The certificate. */
  readonly context: SecureContext;
  /** For ALPN, best first. */
  readonly protocols: readonly string[];
  /** Whether `onSecure` needs the exporter's value. */
  readonly wantsExporter: boolean;
  /** It is done: `socket` carries the visitor's plaintext, is paused, and is the callee's. */
  onSecure(socket: Socket, greeting: HopGreeting): void;
  onFailed(reason: string): void;
}

export interface HandedOverOptions {
  readonly id: number;
  readonly handshake: Handshake;
  /** Says something about this visitor to its worker. */
  readonly tell: (kind: SignalKind) => void;
  /** Called once. */
  readonly onOver: () => void;
}

export class HandedOver {
  readonly #standIn: Socket;
  readonly #options: HandedOverOptions;
  #state: 'handshaking' | 'served' | 'over' = 'handshaking';
  #socket: Socket | undefined;

  constructor(standIn: Socket, options: HandedOverOptions) {
    this.#standIn = standIn;
    this.#options = options;
    standIn.once('close', this.#onStandInClosed);
  }

  /** True while nobody who serves the visitor knows of it: before its handshake is done, and after its last words left. */
  get isUnderWay(): boolean {
    return this.#socket === undefined || this.#socket.closed;
  }

  /** Its plaintext arrives. */
  join(socket: Socket, greeting: HopGreeting): void {
    if (this.#state !== 'handshaking') {
      socket.destroy();
      return;
    }
    this.#state = 'served';
    this.#socket = socket;
    socket.on('error', ignore);
    onDestroy(socket, () => this.#options.tell(socket.writableFinished ? 'closed' : 'aborted'));
    this.#options.handshake.onSecure(socket, greeting);
  }

  /** The worker says how it went. */
  hear({ kind, text }: Signal): void {
    if (kind === 'failed' && this.#state === 'handshaking') this.#options.handshake.onFailed(text);
    else if (kind === 'aborted') this.#socket?.destroy();
    // What the visitor said before may still be unread; the connection ends with that.
    else if (kind === 'closed') this.#end();
  }

  /** The worker is gone, and the visitor with it. */
  lose(): void {
    this.#socket?.destroy();
    this.#end();
  }

  readonly #onStandInClosed = (): void => {
    if (this.#state === 'handshaking') this.#options.tell('aborted');
    this.#socket?.destroy();
    this.#end();
  };

  #end(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#standIn.off('close', this.#onStandInClosed);
    this.#standIn.destroy();
    this.#options.onOver();
  }
}

/** Calls `act` right before the socket is closed: 'close' comes after it, and then the other end has seen an end already. */
function onDestroy(socket: Socket, act: () => void): void {
  const destroy = socket._destroy;
  socket._destroy = (error, done) => {
    act();
    destroy.call(socket, error, done);
  };
}

function ignore(): void {}
