/**
 * FirstBytes: looks at the start of a connection before anybody reads it. Bytes that the parser took are gone, all
 * others are put back, so whoever comes next reads the connection as if nobody had looked.
 *
 * The parser bounds the bytes; the deadline bounds the time. Owned by: the arrival that waits for it.
 */
import type { Socket } from 'node:net';
import type { Deadlines, Watched } from '../../shared/deadlines.js';
import { asTunnelError, TunnelError } from '../../shared/errors.js';

/** What a parser says of the bytes so far: undefined for "more", or its finding and how many bytes it used up. */
export interface Finding<T> {
  readonly value: T;
  readonly usedBytes: number;
}

export interface FirstBytesOptions<T> {
  readonly deadlines: Deadlines;
  readonly timeoutMs: number;
  /** Throws TunnelError for bytes that can never become a finding. */
  readonly parse: (bytes: Buffer) => Finding<T> | undefined;
}

/** Rejects with the parser's error, REQUEST_INVALID (408) when time is up, or STREAM_RESET when the peer left. */
export function readFirstBytes<T>(socket: Socket, options: FirstBytesOptions<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    new FirstBytes(socket, options, resolve, reject).start();
  });
}

class FirstBytes<T> implements Watched {
  readonly #socket: Socket;
  readonly #options: FirstBytesOptions<T>;
  readonly #resolve: (value: T) => void;
  readonly #reject: (error: TunnelError) => void;
  readonly #deadlineAtMs: number;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(
    socket: Socket,
    options: FirstBytesOptions<T>,
    resolve: (value: T) => void,
    reject: (error: TunnelError) => void,
  ) {
    this.#socket = socket;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#deadlineAtMs = options.deadlines.nowMs + options.timeoutMs;
  }

  start(): void {
    this.#options.deadlines.watch(this);
    this.#socket.on('data', this.#onData);
    this.#socket.on('end', this.#onGone);
    this.#socket.on('close', this.#onGone);
    this.#socket.resume();
  }

  onTick(nowMs: number): void {
    if (nowMs < this.#deadlineAtMs) return;
    this.#fail(new TunnelError('REQUEST_INVALID', 'The connection did not say what it wants in time', { status: 408 }));
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    try {
      const finding = this.#options.parse(this.#bytes);
      if (finding !== undefined) this.#finish(finding);
    } catch (error) {
      this.#fail(asTunnelError(error));
    }
  };

  readonly #onGone = (): void => {
    this.#fail(new TunnelError('STREAM_RESET', 'The connection ended before it said what it wants'));
  };

  #finish(finding: Finding<T>): void {
    this.#stop();
    this.#socket.pause();
    const rest = this.#bytes.subarray(finding.usedBytes);
    if (rest.length > 0) this.#socket.unshift(rest);
    this.#resolve(finding.value);
  }

  #fail(error: TunnelError): void {
    this.#stop();
    this.#reject(error);
  }

  #stop(): void {
    this.#options.deadlines.unwatch(this);
    this.#socket.off('data', this.#onData);
    this.#socket.off('end', this.#onGone);
    this.#socket.off('close', this.#onGone);
  }
}
