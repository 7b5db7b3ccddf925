/**
 * An HTTP connection between two ends in the test's hands: the visitor's socket takes and gives bytes when it is told,
 * and so does the origin's stream. For moments that real sockets reach only by chance.
 */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import type { ByteStream, ByteStreamHandler } from '../../shared/bytes/byte-stream.js';
import { Deadlines } from '../../shared/deadlines.js';
import type { ErrorCode } from '../../shared/errors.js';
import { HttpConnection } from '../../shared/http/http-connection.js';
import type { ExchangeRecord, HttpRoute, HttpSite } from '../../shared/http/http-site.js';

export const LIMITS = {
  headBytes: 16_384,
  fields: 100,
  headMs: 10_000,
  keepAliveMs: 10_000,
  bodyIdleMs: 10_000,
  upgradedIdleMs: 10_000,
  http2Streams: 100,
};

/** The origin's end of the connection's only stream. */
export class HandStream implements ByteStream {
  handler: ByteStreamHandler | undefined;
  readonly alive = true;
  /** What the origin would have received. */
  text = '';

  write(piece: Buffer): boolean {
    this.text += piece.toString('latin1');
    return true;
  }

  writeCopy(borrowed: Buffer): boolean {
    return this.write(borrowed);
  }

  /** The origin answers, in this turn. */
  answer(text: string): void {
    this.handler?.onData(Buffer.from(text, 'latin1'));
  }

  end(): void {}
  reset(): void {}
  pause(): void {}
  resume(): void {}
}

/** The visitor's socket. */
export class HandSocket extends Duplex {
  /** What was sent to the visitor and taken by the system. */
  text = '';
  /** False: the system takes nothing until `takeAll`. */
  #takes = true;
  #waiting: (() => void)[] = [];

  holdBack(): void {
    this.#takes = false;
  }

  takeAll(): void {
    this.#takes = true;
    for (const take of this.#waiting.splice(0)) take();
  }

  /** The visitor's bytes arrive, in this turn. */
  say(text: string): void {
    this.emit('data', Buffer.from(text, 'latin1'));
  }

  override _write(piece: Buffer, _: BufferEncoding, done: () => void): void {
    const take = () => {
      this.text += piece.toString('latin1');
      done();
    };
    if (this.#takes) take();
    else this.#waiting.push(take);
  }

  override _read(): void {}
}

export interface HandConnection {
  readonly connection: HttpConnection;
  readonly socket: HandSocket;
  readonly stream: HandStream;
  readonly deadlines: Deadlines;
  /** Copies of the records of exchanges that ended, oldest first. */
  readonly exchanges: readonly ExchangeRecord[];
}

/** A connection that has just been accepted; it must not refuse anything, except with a code of `mayRefuse`. */
export function handConnection(t: TestContext, mayRefuse: readonly ErrorCode[] = []): HandConnection {
  const deadlines = new Deadlines();
  t.after(() => deadlines.close());
  const stream = new HandStream();
  const exchanges: ExchangeRecord[] = [];
  const route: HttpRoute = {
    hostHeader: undefined,
    responseTimeoutMs: undefined,
    open: () => stream,
    countRequest: () => {},
  };
  const site: HttpSite = {
    limits: LIMITS,
    deadlines,
    takeRequest: () => true,
    giveBackRequest: () => {},
    responseFields: '',
    draining: false,
    route: () => route,
    forwarded: () => ({ forwardedFor: '', proto: 'https', realIp: '', forwarded: '', requestId: '' }),
    requestId: () => 'id',
    refused: (code) => assert.ok(mayRefuse.includes(code), code),
    exchanged: (record) => exchanges.push({ ...record }),
    closed: () => {},
  };
  const socket = new HandSocket({ allowHalfOpen: true });
  t.after(() => void socket.destroy());
  return { connection: new HttpConnection(socket as unknown as Socket, site), socket, stream, deadlines, exchanges };
}
