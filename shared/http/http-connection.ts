/**
 * HttpConnection: one visitor's HTTP/1.1 connection, from its first head to its end.
 *
 * It reads requests one at a time, asks the site for a route, and carries each exchange over one stream towards the
 * origin: the request head written anew and the body as it comes; the way back is ResponseForwarder's. It decides what an
 * error becomes (a page while no response has begun, a cut connection afterwards) and how long each part may take. One
 * visitor connection uses one stream at a time, and no stream serves two visitors.
 *
 *   head → opening → exchange → head …          exchange → tunnel (after a 101; the splice owns all then)
 *   any → lingering → closed                    lingering: answered and ended, the rest is read and dropped
 *
 * Owns: the visitor's socket and the stream. Owned by: nobody but the socket; `drain` and `destroy` end it from outside.
 */
import type { Socket } from 'node:net';
import type { ByteStream, ByteStreamHandler } from '../bytes/byte-stream.js';
import type { Watched } from '../deadlines.js';
import { asTunnelError, type ErrorCode, TunnelError } from '../errors.js';
import { Splice, type SpliceTraffic } from '../splice.js';
import { type BodyFraming, BodyReader } from './body.js';
import { errorResponse } from './error-response.js';
import { Exchange } from './exchange.js';
import { HeadBuffer } from './head-buffer.js';
import { HeldBytes } from './held-bytes.js';
import { DRAIN_IDLE_MS, type HttpLimits, type HttpRoute, type HttpSite } from './http-site.js';
import { parseRequestHead, type RequestHead, writeRequestHead } from './request-head.js';
import { ResponseForwarder, type ResponseOwner } from './response-forwarder.js';
import { VisitorWriter } from './visitor-writer.js';

/** What a visitor may still send after the last response before the connection is cut, and for how long. */
const LINGER_BYTES = 1024 * 1024;
const LINGER_MS = 2_000;

const SWITCHING_PROTOCOLS = 101;
const NEVER = Number.POSITIVE_INFINITY;
const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

type Phase = 'head' | 'opening' | 'exchange' | 'tunnel' | 'lingering' | 'closed';

export class HttpConnection implements ByteStreamHandler, ResponseOwner, Watched {
  readonly limits: HttpLimits;
  readonly responseFields: string;
  readonly #socket: Socket;
  readonly #site: HttpSite;
  readonly #writer: VisitorWriter;
  readonly #response: ResponseForwarder;
  readonly #heads: HeadBuffer;
  readonly #held = new HeldBytes();
  #phase: Phase = 'head';
  #deadlineAtMs = 0;

  #request: RequestHead | undefined;
  #requestId = '';
  readonly #exchange = new Exchange();
  #requestBody: BodyReader | undefined;
  #route: HttpRoute | undefined;
  #responseBegun = false;
  #closeAfter = false;
  #lingeredBytes = 0;
  /** The visitor's socket takes no more for now; likewise the stream to the origin. */
  #visitorFull = false;
  #originFull = false;

  #stream: ByteStream | undefined;
  /** The route that the stream serves. */
  #streamRoute: HttpRoute | undefined;
  /** True while the stream carries its first exchange: a failure is then the origin's, not an idle connection's. */
  #streamIsNew = true;

  constructor(socket: Socket, site: HttpSite) {
    this.#socket = socket;
    this.#site = site;
    this.limits = site.limits;
    this.responseFields = site.responseFields;
    this.#writer = new VisitorWriter(socket, this.#onVisitorRoom);
    this.#response = new ResponseForwarder(this.#writer, this);
    this.#heads = new HeadBuffer(site.limits);
    this.#setDeadline(site.limits.headMs);
    site.deadlines.watch(this);
    socket.on('data', this.#onSocketData);
    socket.on('end', this.#onSocketEnd);
    socket.on('error', this.#onSocketError);
    socket.on('close', this.#onSocketClose);
  }

  /** Ends the connection after its current exchange; when none runs, after the next one if that comes soon. */
  drain(): void {
    this.#closeAfter = true;
    if (this.#phase !== 'head' || this.#heads.partial) return;
    // A request may be on its way: cutting it off now would lose it, and its answer tells the visitor to connect anew.
    this.#deadlineAtMs = Math.min(this.#deadlineAtMs, this.#site.deadlines.nowMs + DRAIN_IDLE_MS);
  }

  /** Ends the connection now. Safe in any state. */
  destroy(): void {
    this.#socket.destroy();
  }

  // ---- from the visitor ----

  readonly #onSocketData = (chunk: Buffer): void => {
    try {
      this.#readVisitor(chunk, 0);
    } catch (error) {
      this.#fail(asTunnelError(error));
    }
  };

  #readVisitor(chunk: Buffer, start: number): void {
    if (start === chunk.length) return;
    if (this.#phase === 'head' && this.#held.empty && !this.#visitorFull) this.#readHead(chunk, start);
    else if (this.#phase === 'exchange' && this.#requestBody !== undefined) this.#readBody(chunk, start);
    else if (this.#phase === 'lingering') this.#dropLate(chunk.length);
    else if (this.#phase !== 'closed') this.#hold(start === 0 ? chunk : chunk.subarray(start));
  }

  #readHead(chunk: Buffer, start: number): void {
    const begun = this.#heads.partial;
    const text = this.#heads.push(chunk, start);
    if (text === undefined) {
      if (!begun) this.#setDeadline(this.limits.headMs);
      return;
    }
    const { next } = this.#heads;
    this.#tryToBegin(text);
    if (this.#phase === 'head' && next < chunk.length) {
      // Answered at once, with a page. The rest waits a turn: a thousand such requests must not nest a thousand calls.
      this.#hold(chunk.subarray(next));
      setImmediate(this.#useHeld);
    } else {
      this.#readVisitor(chunk, next);
    }
  }

  #tryToBegin(text: string): void {
    try {
      this.#begin(parseRequestHead(text, this.limits));
    } catch (error) {
      this.#fail(asTunnelError(error));
    }
  }

  #readBody(chunk: Buffer, start: number): void {
    const body = this.#requestBody;
    if (body === undefined) return;
    this.#setDeadline(this.limits.bodyIdleMs);
    const next = body.read(chunk, start, this.#sendToOrigin);
    this.#exchange.bytesIn += next - start;
    if (body.done) {
      this.#requestBody = undefined;
      this.#awaitResponse();
    }
    this.#readVisitor(chunk, next);
  }

  readonly #sendToOrigin = (piece: Buffer): void => {
    if (this.#stream?.write(piece) !== false) return;
    this.#originFull = true;
    this.#socket.pause();
  };

  #hold(bytes: Buffer): void {
    this.#held.add(bytes);
    if (this.#held.full) this.#socket.pause();
  }

  readonly #useHeld = (): void => {
    if (this.#phase !== 'exchange' && (this.#phase !== 'head' || this.#visitorFull)) return;
    if (!this.#held.empty) this.#onSocketData(this.#held.take());
    this.#resumeVisitor();
  };

  #resumeVisitor(): void {
    if (!this.#held.full && !this.#originFull) this.#socket.resume();
  }

  #dropLate(bytes: number): void {
    this.#lingeredBytes += bytes;
    if (this.#lingeredBytes > LINGER_BYTES) this.#socket.destroy();
  }

  readonly #onVisitorRoom = (): void => {
    this.#visitorFull = false;
    if (this.#response.state === 'body') {
      this.#setDeadline(this.#requestBody === undefined ? NEVER : this.limits.bodyIdleMs);
    }
    this.#stream?.resume();
    if (this.#phase === 'head') this.#useHeld();
  };

  /** Whoever half-closes has left, as browsers and curl do it. */
  readonly #onSocketEnd = (): void => {
    this.#socket.destroy();
  };

  readonly #onSocketError = (): void => {
    // 'close' follows, and says all that matters: the visitor is gone.
  };

  readonly #onSocketClose = (): void => {
    if (this.#phase === 'closed') return;
    this.#phase = 'closed';
    this.#writer.close();
    this.#site.deadlines.unwatch(this);
    this.#dropStream(new TunnelError('STREAM_RESET', 'The visitor left'));
    this.#endExchange('STREAM_RESET');
    this.#site.closed(this);
  };

  // ---- an exchange ----

  #begin(head: RequestHead): void {
    this.#request = head;
    this.#requestId = this.#site.requestId(head);
    this.#beginExchange(head);
    this.#requestBody = requestBodyReader(head);
    // A switch takes place behind the request; with a body in between, nobody could tell where that is.
    if (this.#requestBody !== undefined) head.upgrade = undefined;
    const route = this.#site.route(head);
    this.#route = route;
    this.#exchange.route = route;
    route.countRequest();
    if (this.#stream?.alive === true && this.#streamRoute === route) {
      this.#streamIsNew = false;
      this.#send(this.#stream, head, route);
    } else {
      this.#open(head, route);
    }
  }

  #beginExchange(head: RequestHead | undefined): void {
    this.#writer.pieceBytes = 0;
    this.#exchange.begin(head, this.#requestId);
  }

  #endExchange(code: ErrorCode | undefined): void {
    if (!this.#exchange.end(code)) return;
    this.#exchange.bytesOut += this.#writer.pieceBytes;
    this.#site.exchanged(this.#exchange);
  }

  #open(head: RequestHead, route: HttpRoute): void {
    this.#dropStream(new TunnelError('STREAM_RESET', 'The visitor went on to another stream'));
    const opening = route.open(head, this.#requestId);
    if (!(opening instanceof Promise)) {
      this.#attach(opening, head, route);
      return;
    }
    this.#phase = 'opening';
    this.#setDeadline(NEVER);
    opening.then(
      (stream) => this.#onOpened(stream, head, route),
      (error: unknown) => this.#onOpenFailed(error),
    );
  }

  #onOpened(stream: ByteStream, head: RequestHead, route: HttpRoute): void {
    if (this.#phase !== 'opening') {
      stream.reset(new TunnelError('STREAM_RESET', 'The visitor left while waiting'));
      return;
    }
    this.#attach(stream, head, route);
    this.#useHeld();
  }

  #onOpenFailed(error: unknown): void {
    if (this.#phase === 'opening') this.#fail(asTunnelError(error));
  }

  #attach(stream: ByteStream, head: RequestHead, route: HttpRoute): void {
    this.#stream = stream;
    this.#streamRoute = route;
    this.#streamIsNew = true;
    stream.handler = this;
    this.#send(stream, head, route);
    if (!this.#visitorFull) stream.resume();
  }

  #send(stream: ByteStream, head: RequestHead, route: HttpRoute): void {
    const forwarded = this.#site.forwarded(head, this.#requestId);
    this.#phase = 'exchange';
    this.#response.expect(head);
    stream.write(Buffer.from(writeRequestHead(head, forwarded, route.hostHeader), 'latin1'));
    if (this.#requestBody === undefined) this.#awaitResponse();
    else this.#setDeadline(this.limits.bodyIdleMs);
  }

  /** The request is out: from now on only the tunnel's own response timeout counts. */
  #awaitResponse(): void {
    if (this.#response.state === 'head') this.#setDeadline(this.#route?.responseTimeoutMs ?? NEVER);
    else this.#setDeadline(NEVER);
  }

  // ---- from the origin ----

  onData(piece: Buffer): void {
    try {
      const expected = this.#response.read(piece);
      this.#flush();
      if (!expected)
        this.#dropStream(new TunnelError('ORIGIN_INVALID', 'The origin sent bytes that no request asked for'));
    } catch (error) {
      this.#fail(asTunnelError(error, 'ORIGIN_INVALID'));
    }
  }

  /** Writes what is queued for the visitor. One who does not read gets no more, and may ask for no more. */
  #flush(): void {
    if (this.#writer.flush()) return;
    this.#visitorFull = true;
    this.#stream?.pause();
    if (this.#response.state === 'body') this.#setDeadline(this.limits.bodyIdleMs);
  }

  onDrain(): void {
    if (this.#requestBody !== undefined) this.#setDeadline(this.limits.bodyIdleMs);
    this.#originFull = false;
    this.#resumeVisitor();
  }

  onEnd(): void {
    if (this.#response.state === 'idle') {
      this.#endStream();
      return;
    }
    try {
      if (this.#mayRepeat()) this.#repeat();
      else this.#response.end();
      this.#flush();
    } catch (error) {
      this.#fail(asTunnelError(error, 'ORIGIN_INVALID'));
    }
  }

  onClose(error: TunnelError | undefined): void {
    this.#stream = undefined;
    if (this.#response.state === 'idle') return;
    if (error?.code === 'STREAM_RESET' && this.#mayRepeat()) this.#repeat();
    else this.#fail(error ?? new TunnelError('ORIGIN_CLOSED', 'The origin closed the connection without a response'));
  }

  /** Idle, the stream ends now; otherwise it serves no exchange after this one. */
  onRetire(): void {
    this.#streamRoute = undefined;
    if (this.#phase === 'head') this.#endStream();
  }

  /**
   * An idle connection may be closed by the origin in the same moment as the next request is sent on it. A request
   * that is safe to repeat and of which nothing was answered is sent once more, on a new stream (RFC 9110 §9.2.2).
   */
  #mayRepeat(): boolean {
    const request = this.#request;
    if (this.#streamIsNew || request === undefined || !this.#response.untouched) return false;
    return SAFE_METHODS.has(request.method) && request.body.kind === 'none';
  }

  #repeat(): void {
    const request = this.#request;
    const route = this.#route;
    if (request === undefined || route === undefined) return;
    this.#response.forget();
    try {
      this.#open(request, route);
    } catch (error) {
      this.#fail(asTunnelError(error));
    }
  }

  /** ResponseOwner. An answer before the end of the request: only the connection's end tells the visitor to stop. */
  responseBegins(status: number, framing: BodyFraming): boolean {
    const request = this.#request;
    this.#responseBegun = true;
    this.#exchange.respond(status);
    this.#setDeadline(this.#requestBody === undefined ? NEVER : this.limits.bodyIdleMs);
    const complete = request?.keepAlive === true && this.#requestBody === undefined && framing.kind !== 'until-close';
    if (!complete || this.#site.draining) this.#closeAfter = true;
    return !this.#closeAfter;
  }

  /** ResponseOwner. */
  responseEnded(reusable: boolean): void {
    if (this.#requestBody !== undefined) {
      this.#dropStream(new TunnelError('STREAM_RESET', 'The origin answered before the request ended'));
    } else if (!reusable || this.#streamRoute === undefined) {
      this.#endStream();
    }
    this.#flush();
    this.#endExchange(undefined);
    if (this.#closeAfter || this.#requestBody !== undefined) this.#linger();
    else this.#next();
  }

  /** ResponseOwner. From here on the bytes are nobody's HTTP. */
  protocolsSwitched(rest: Buffer): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#exchange.respond(SWITCHING_PROTOCOLS);
    if (rest.length > 0) this.#writer.piece(rest);
    this.#writer.finish();
    this.#writer.close();
    this.#phase = 'tunnel';
    this.#stream = undefined;
    this.#leaveSocket();
    const held = this.#held.take();
    if (held.length > 0) stream.write(held);
    const traffic = { toSocketBytes: 0, fromSocketBytes: held.length };
    new Splice(this.#socket, stream, {
      deadlines: this.#site.deadlines,
      idleMs: this.limits.upgradedIdleMs,
      traffic,
      onClose: (error) => this.#onSpliceClosed(traffic, error),
    });
  }

  #onSpliceClosed(traffic: SpliceTraffic, error: TunnelError | undefined): void {
    this.#exchange.bytesIn = traffic.fromSocketBytes;
    this.#exchange.bytesOut = traffic.toSocketBytes;
    this.#endExchange(error?.code);
    this.#site.closed(this);
  }

  #leaveSocket(): void {
    this.#site.deadlines.unwatch(this);
    this.#socket.off('data', this.#onSocketData);
    this.#socket.off('end', this.#onSocketEnd);
    this.#socket.off('error', this.#onSocketError);
    this.#socket.off('close', this.#onSocketClose);
  }

  /** Back to reading heads, first of all what was held. */
  #next(): void {
    this.#phase = 'head';
    this.#request = undefined;
    this.#route = undefined;
    this.#responseBegun = false;
    this.#originFull = false;
    this.#setDeadline(this.limits.keepAliveMs);
    // Not right here: a hundred pipelined requests with ready answers must not nest a hundred calls.
    if (this.#held.empty) this.#resumeVisitor();
    else setImmediate(this.#useHeld);
  }

  /** All was said on it: lets the origin finish. */
  #endStream(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream === undefined) return;
    stream.handler = new EndingStream(stream);
    stream.end();
    stream.resume();
  }

  #dropStream(error: TunnelError): void {
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream === undefined) return;
    stream.handler = undefined;
    stream.reset(error);
  }

  // ---- errors and ends ----

  onTick(nowMs: number): void {
    if (nowMs < this.#deadlineAtMs) return;
    if (this.#requestBody !== undefined && this.#originFull) {
      // We hold the visitor back because the origin takes nothing.
      this.#fail(new TunnelError('ORIGIN_TIMEOUT', 'The origin stopped reading the request'));
    } else if (this.#phase === 'exchange' && this.#response.state === 'head' && this.#requestBody === undefined) {
      this.#fail(new TunnelError('ORIGIN_TIMEOUT', 'The origin did not begin its response in time'));
    } else if (this.#phase === 'head' && !this.#heads.partial) {
      this.#linger();
    } else if (this.#phase !== 'lingering' && !this.#responseBegun) {
      this.#fail(new TunnelError('REQUEST_INVALID', 'The request did not arrive in time', { status: 408 }));
    } else {
      this.#socket.destroy();
    }
  }

  #setDeadline(ms: number): void {
    this.#deadlineAtMs = this.#site.deadlines.nowMs + ms;
  }

  /** Before the response began the visitor gets a page; afterwards only a cut connection tells the truth. */
  #fail(error: TunnelError): void {
    if (this.#phase === 'closed' || this.#phase === 'tunnel' || this.#phase === 'lingering') return;
    this.#site.refused(error.code, this.#request);
    this.#dropStream(error);
    this.#response.forget();
    if (!this.#responseBegun) {
      this.#answer(error);
      return;
    }
    this.#endExchange(error.code);
    this.#socket.destroy();
  }

  #answer(error: TunnelError): void {
    const request = this.#request;
    if (request === undefined) this.#requestId = this.#site.requestId(undefined);
    if (!this.#exchange.running) this.#beginExchange(undefined);
    const complete = request?.keepAlive === true && this.#requestBody === undefined && error.code !== 'REQUEST_INVALID';
    const keepAlive = complete && !this.#closeAfter && !this.#site.draining;
    const options = { requestId: this.#requestId, keepAlive, extra: this.responseFields };
    const { head, body } = errorResponse(error, request, options);
    this.#writer.head(head);
    this.#writer.piece(body);
    this.#flush();
    this.#exchange.respond(error.status);
    this.#endExchange(error.code);
    if (keepAlive) this.#next();
    else this.#linger();
  }

  /** Ends our side and reads on for a while: closing with unread bytes would reset what we just sent. */
  #linger(): void {
    this.#phase = 'lingering';
    this.#held.take();
    this.#dropStream(new TunnelError('STREAM_RESET', 'The connection ended'));
    // What was written must get out first, however slowly the visitor reads.
    this.#setDeadline(this.limits.bodyIdleMs);
    this.#writer.finish();
    this.#socket.end(() => this.#setDeadline(LINGER_MS));
    this.#socket.resume();
  }
}

/** A stream on which everything is done: it only waits for the origin's end. */
class EndingStream implements ByteStreamHandler {
  readonly #stream: ByteStream;

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  onData(): void {
    this.#stream.reset();
  }

  onEnd(): void {}
  onDrain(): void {}
  onClose(): void {}
}

function requestBodyReader(head: RequestHead): BodyReader | undefined {
  if (head.body.kind === 'none') return undefined;
  const trailers = head.acceptsTrailers ? 'keep' : 'drop';
  const body = new BodyReader(head.body, { output: 'framed', trailers, code: 'REQUEST_INVALID' });
  return body.done ? undefined : body;
}
