/**
 * HttpConnection: one visitor's HTTP/1.1 connection, from its first head to its end.
 *
 * It reads requests one at a time, asks the site for a route, and carries each exchange over one stream towards the
 * origin: the request head written anew, bodies as they come in both directions, the response head written anew. It
 * decides what an error becomes (a page while no response has begun, a cut connection afterwards) and how long each
 * part may take. One visitor connection uses one stream at a time, and no stream serves two visitors.
 *
 *   phase     head → opening → exchange → head …          exchange → tunnel (after a 101; the splice owns all then)
 *             any → lingering → closed                    lingering: answered and ended, the rest is read and dropped
 *   response  none → head → body → none                   none: no request is waiting for the origin
 *
 * Bytes that a visitor sends too early (pipelined requests, bytes behind an Upgrade) are held, at most HELD_BYTES.
 *
 * Owns: the visitor's socket and the stream. Owned by: nobody but the socket; `drain` and `destroy` end it from outside.
 */
import type { Socket } from 'node:net';
import type { ByteStream, ByteStreamHandler } from '../byte-stream.js';
import type { Deadlines, Watched } from '../deadlines.js';
import { asTunnelError, type ErrorCode, TunnelError } from '../errors.js';
import { Splice } from '../splice.js';
import { type BodyFraming, BodyReader, CHUNK_TAIL, chunkHead, LAST_CHUNK } from './body.js';
import { errorResponse } from './error-response.js';
import { HeadBuffer, type HeadLimits } from './head-buffer.js';
import { type ForwardedFields, parseRequestHead, type RequestHead, writeRequestHead } from './request-head.js';
import { parseResponseHead, type ResponseHead, writeResponseHead } from './response-head.js';
import { VisitorWriter } from './visitor-writer.js';

/** Pipelined bytes kept while an exchange runs; then the visitor's socket is paused. */
const HELD_BYTES = 64 * 1024;

/** What a visitor may still send after the last response before the connection is cut, and for how long. */
const LINGER_BYTES = 1024 * 1024;
const LINGER_MS = 2_000;

/** 1xx responses before the final one; more is an origin gone wrong. */
const MAX_INTERIM_RESPONSES = 32;

export interface HttpLimits extends HeadLimits {
  /** From a head's first byte to its last. */
  readonly headMs: number;
  /** Between two exchanges. */
  readonly keepAliveMs: number;
  /** A body without progress while its sender or reader is the visitor. */
  readonly bodyIdleMs: number;
  /** An upgraded connection without a byte. */
  readonly upgradedIdleMs: number;
}

/** Where a request goes. */
export interface HttpRoute {
  readonly hostHeader: string | undefined;
  /** How long the origin may take to begin its response; undefined: as long as it likes. */
  readonly responseTimeoutMs: number | undefined;
  /** A stream to the origin; its handler learns of a failed dial by `onClose`. Rejects with TunnelError. */
  open(head: RequestHead, requestId: string): ByteStream | Promise<ByteStream>;
  /** An exchange begins. */
  countRequest(): void;
}

/** What a connection needs of the edge that accepted it. */
export interface HttpSite {
  readonly limits: HttpLimits;
  readonly deadlines: Deadlines;
  /** Ready field lines for each response, such as Strict-Transport-Security; '' for none. */
  readonly responseFields: string;
  /** True once connections should end after their current exchange. */
  readonly draining: boolean;
  /** Where this request goes. Throws ROUTE_NOT_FOUND or HOST_MISDIRECTED. */
  route(head: RequestHead): HttpRoute;
  /** What the origin is told about the visitor. */
  forwarded(head: RequestHead, requestId: string): ForwardedFields;
  /** The id of a request; `undefined` for one whose head could not be read. */
  requestId(head: RequestHead | undefined): string;
  /** A request ended in an error of the table. */
  refused(code: ErrorCode): void;
  closed(connection: HttpConnection): void;
}

type Phase = 'head' | 'opening' | 'exchange' | 'tunnel' | 'lingering' | 'closed';

export class HttpConnection implements ByteStreamHandler, Watched {
  readonly #socket: Socket;
  readonly #site: HttpSite;
  readonly #writer: VisitorWriter;
  readonly #requestHeads: HeadBuffer;
  #responseHeads: HeadBuffer;
  #phase: Phase = 'head';
  #deadlineAtMs: number;

  #stream: ByteStream | undefined;
  #streamRoute: HttpRoute | undefined;
  /** True while the stream carries its first exchange: a failure is then the origin's, not an idle connection's. */
  #streamIsNew = true;

  #request: RequestHead | undefined;
  #route: HttpRoute | undefined;
  #requestId = '';
  #requestBody: BodyReader | undefined;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #lingeredBytes = 0;

  #response: 'none' | 'head' | 'body' = 'none';
  #responseBody: BodyReader | undefined;
  #reframed = false;
  #responseBegun = false;
  #interimResponses = 0;
  #closeAfter = false;

  constructor(socket: Socket, site: HttpSite) {
    this.#socket = socket;
    this.#site = site;
    this.#writer = new VisitorWriter(socket);
    this.#requestHeads = new HeadBuffer(site.limits, 'REQUEST_INVALID');
    this.#responseHeads = new HeadBuffer(site.limits, 'ORIGIN_INVALID');
    this.#deadlineAtMs = site.deadlines.nowMs + site.limits.headMs;
    site.deadlines.watch(this);
    socket.on('data', this.#onSocketData);
    socket.on('drain', this.#onSocketDrain);
    socket.on('end', this.#onSocketEnd);
    socket.on('error', this.#onSocketError);
    socket.on('close', this.#onSocketClose);
  }

  /** Ends the connection after its current exchange, at once when none runs. */
  drain(): void {
    if (this.#phase === 'head' && !this.#requestHeads.partial) this.#linger();
    else this.#closeAfter = true;
  }

  /** Ends the connection now. Safe in any state. */
  destroy(): void {
    this.#socket.destroy();
  }

  // ---- the visitor's side ----

  readonly #onSocketData = (chunk: Buffer): void => {
    try {
      this.#readVisitor(chunk, 0);
    } catch (error) {
      this.#fail(asTunnelError(error));
    }
  };

  #readVisitor(chunk: Buffer, start: number): void {
    if (start === chunk.length) return;
    if (this.#phase === 'head') this.#readHead(chunk, start);
    else if (this.#phase === 'exchange' && this.#requestBody !== undefined) this.#readBody(chunk, start);
    else if (this.#phase === 'lingering') this.#dropLate(chunk.length);
    else if (this.#phase !== 'closed') this.#hold(start === 0 ? chunk : chunk.subarray(start));
  }

  #readHead(chunk: Buffer, start: number): void {
    const begun = this.#requestHeads.partial;
    const text = this.#requestHeads.push(chunk, start);
    if (text === undefined) {
      if (!begun) this.#setDeadline(this.#site.limits.headMs);
      return;
    }
    const next = this.#requestHeads.next;
    this.#begin(parseRequestHead(text, this.#site.limits));
    this.#readVisitor(chunk, next);
  }

  #readBody(chunk: Buffer, start: number): void {
    const body = this.#requestBody;
    if (body === undefined) return;
    this.#setDeadline(this.#site.limits.bodyIdleMs);
    const next = body.read(chunk, start, this.#sendToOrigin);
    if (body.done) {
      this.#requestBody = undefined;
      this.#awaitResponse();
    }
    this.#readVisitor(chunk, next);
  }

  readonly #sendToOrigin = (piece: Buffer): void => {
    if (this.#stream?.write(piece) === false) this.#socket.pause();
  };

  #hold(bytes: Buffer): void {
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#heldBytes >= HELD_BYTES) this.#socket.pause();
  }

  #takeHeld(): Buffer {
    const bytes = this.#held.length === 1 ? this.#held[0] : Buffer.concat(this.#held);
    this.#held = [];
    this.#heldBytes = 0;
    return bytes ?? Buffer.alloc(0);
  }

  #dropLate(bytes: number): void {
    this.#lingeredBytes += bytes;
    if (this.#lingeredBytes > LINGER_BYTES) this.#socket.destroy();
  }

  readonly #onSocketDrain = (): void => {
    if (this.#response === 'body') this.#setDeadline(Number.POSITIVE_INFINITY);
    this.#stream?.resume();
  };

  /** Whoever half-closes while an exchange runs has left, as browsers and curl do it. */
  readonly #onSocketEnd = (): void => {
    this.#socket.destroy();
  };

  readonly #onSocketError = (): void => {
    // 'close' follows, and says all that matters: the visitor is gone.
  };

  readonly #onSocketClose = (): void => {
    if (this.#phase === 'closed') return;
    this.#phase = 'closed';
    this.#site.deadlines.unwatch(this);
    this.#dropStream(new TunnelError('STREAM_RESET', 'The visitor left'));
    this.#site.closed(this);
  };

  // ---- an exchange ----

  #begin(head: RequestHead): void {
    this.#request = head;
    this.#requestId = this.#site.requestId(head);
    this.#responseBegun = false;
    this.#interimResponses = 0;
    this.#requestBody =
      head.body.kind === 'none'
        ? undefined
        : new BodyReader(head.body, {
            output: 'framed',
            trailers: head.acceptsTrailers ? 'keep' : 'drop',
            code: 'REQUEST_INVALID',
          });
    const route = this.#site.route(head);
    this.#route = route;
    route.countRequest();
    if (this.#stream?.alive === true && this.#streamRoute === route) {
      this.#streamIsNew = false;
      this.#send();
    } else {
      this.#open(route, head);
    }
  }

  #open(route: HttpRoute, head: RequestHead): void {
    this.#dropStream(new TunnelError('STREAM_RESET', 'The visitor went on to another tunnel'));
    if (this.#responseHeads.partial) this.#responseHeads = new HeadBuffer(this.#site.limits, 'ORIGIN_INVALID');
    const opening = route.open(head, this.#requestId);
    this.#streamRoute = route;
    if (!(opening instanceof Promise)) {
      this.#attach(opening);
      return;
    }
    this.#phase = 'opening';
    this.#setDeadline(Number.POSITIVE_INFINITY);
    opening.then(this.#onOpened, this.#onOpenFailed);
  }

  readonly #onOpened = (stream: ByteStream): void => {
    if (this.#phase !== 'opening') {
      stream.reset(new TunnelError('STREAM_RESET', 'The visitor left while waiting'));
      return;
    }
    this.#attach(stream);
    this.#onSocketData(this.#takeHeld());
    this.#socket.resume();
  };

  readonly #onOpenFailed = (error: unknown): void => {
    if (this.#phase === 'opening') this.#fail(asTunnelError(error));
  };

  #attach(stream: ByteStream): void {
    this.#stream = stream;
    this.#streamIsNew = true;
    stream.handler = this;
    this.#send();
    stream.resume();
  }

  #send(): void {
    const { request, route } = this.#current();
    const forwarded = this.#site.forwarded(request, this.#requestId);
    const head = writeRequestHead(request, forwarded, route.hostHeader);
    this.#phase = 'exchange';
    this.#response = 'head';
    this.#sendToOrigin(Buffer.from(head, 'latin1'));
    if (this.#requestBody === undefined) this.#awaitResponse();
    else this.#setDeadline(this.#site.limits.bodyIdleMs);
  }

  #current(): { request: RequestHead; route: HttpRoute } {
    if (this.#request === undefined || this.#route === undefined) {
      throw new TunnelError('INTERNAL', 'Cannot go on with the exchange: none has begun');
    }
    return { request: this.#request, route: this.#route };
  }

  /** The request is out: from now on only the tunnel's own response timeout counts. */
  #awaitResponse(): void {
    if (this.#response === 'head') this.#setDeadline(this.#route?.responseTimeoutMs ?? Number.POSITIVE_INFINITY);
  }

  // ---- the origin's side ----

  onData(piece: Buffer): void {
    try {
      this.#readOrigin(piece);
      if (!this.#writer.flush()) this.#pauseOrigin();
    } catch (error) {
      this.#fail(asTunnelError(error, 'ORIGIN_INVALID'));
    }
  }

  #readOrigin(piece: Buffer): void {
    let at = 0;
    while (at < piece.length && this.#phase === 'exchange') {
      if (this.#response === 'head') at = this.#readResponseHead(piece, at);
      else if (this.#response === 'body') at = this.#readResponseBody(piece, at);
      else break;
    }
    // Bytes that no request asked for: this stream cannot be trusted with another one.
    if (at < piece.length && this.#phase === 'head') {
      this.#dropStream(new TunnelError('ORIGIN_INVALID', 'The origin sent bytes that no request asked for'));
    }
  }

  #readResponseHead(piece: Buffer, at: number): number {
    const text = this.#responseHeads.push(piece, at);
    if (text === undefined) return piece.length;
    const next = this.#responseHeads.next;
    const { request } = this.#current();
    const head = parseResponseHead(text, request.method, this.#site.limits);
    if (head.status === 101) {
      this.#switchProtocols(head, piece.subarray(next));
      return piece.length;
    }
    if (head.status < 200) this.#passInterim(head);
    else this.#beginResponse(head, request);
    return next;
  }

  /** 100, 103 and their kind go on as they are; HTTP/1.0 has none. */
  #passInterim(head: ResponseHead): void {
    this.#interimResponses += 1;
    if (this.#interimResponses > MAX_INTERIM_RESPONSES) {
      throw new TunnelError('ORIGIN_INVALID', 'Cannot read response: too many interim responses');
    }
    if (this.#request?.version === 11) this.#writeResponseHead(head, { kind: 'none' }, true);
  }

  #beginResponse(head: ResponseHead, request: RequestHead): void {
    const framing = visitorFraming(head.body, request.version);
    this.#reframed = head.body.kind === 'until-close' && framing.kind === 'chunked';
    if (!this.#keepsAlive(request, framing)) this.#closeAfter = true;
    this.#responseBegun = true;
    this.#response = 'body';
    this.#setDeadline(this.#requestBody === undefined ? Number.POSITIVE_INFINITY : this.#site.limits.bodyIdleMs);
    this.#writeResponseHead(head, framing, !this.#closeAfter);
    if (!head.keepAlive) this.#streamRoute = undefined;
    this.#responseBody = new BodyReader(head.body, {
      output: framing.kind === 'chunked' && !this.#reframed ? 'framed' : 'payload',
      trailers: 'keep',
      code: 'ORIGIN_INVALID',
    });
    if (this.#responseBody.done) this.#finish();
  }

  /** An answer before the end of the request: only the end of the connection tells the visitor to stop sending. */
  #keepsAlive(request: RequestHead, framing: BodyFraming): boolean {
    return (
      request.keepAlive && framing.kind !== 'until-close' && !this.#site.draining && this.#requestBody === undefined
    );
  }

  #writeResponseHead(head: ResponseHead, framing: BodyFraming, keepAlive: boolean): void {
    const extra = head.status < 200 ? '' : this.#site.responseFields;
    const visitorVersion = this.#request?.version ?? 11;
    this.#writer.head(writeResponseHead(head, { framing, keepAlive, visitorVersion, extra }));
  }

  #readResponseBody(piece: Buffer, at: number): number {
    const body = this.#responseBody;
    if (body === undefined) return piece.length;
    const next = body.read(piece, at, this.#reframed ? this.#sendChunkToVisitor : this.#sendToVisitor);
    if (body.done) this.#finish();
    return next;
  }

  readonly #sendToVisitor = (piece: Buffer): void => {
    this.#writer.piece(piece);
  };

  readonly #sendChunkToVisitor = (piece: Buffer): void => {
    this.#writer.piece(chunkHead(piece.length));
    this.#writer.piece(piece);
    this.#writer.piece(CHUNK_TAIL);
  };

  #pauseOrigin(): void {
    if (this.#phase === 'closed' || this.#phase === 'tunnel') return;
    this.#stream?.pause();
    if (this.#response === 'body') this.#setDeadline(this.#site.limits.bodyIdleMs);
  }

  /** The response is complete. */
  #finish(): void {
    if (this.#reframed) this.#writer.piece(LAST_CHUNK);
    this.#response = 'none';
    this.#responseBody = undefined;
    this.#reframed = false;
    const requestOpen = this.#requestBody !== undefined;
    if (requestOpen || this.#streamRoute === undefined) this.#dropFinishedStream(requestOpen);
    this.#writer.flush();
    if (requestOpen || this.#closeAfter) this.#linger();
    else this.#next();
  }

  /** Ends a stream whose origin said `Connection: close`, or that would have taken more of the request. */
  #dropFinishedStream(requestOpen: boolean): void {
    if (requestOpen) this.#dropStream(new TunnelError('STREAM_RESET', 'The origin answered before the request ended'));
    else this.#endStream();
  }

  #endStream(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream === undefined) return;
    stream.handler = new EndingStream(stream);
    stream.end();
    stream.resume();
  }

  /** Back to reading heads, first of all what was held. */
  #next(): void {
    this.#phase = 'head';
    this.#request = undefined;
    this.#route = undefined;
    this.#setDeadline(this.#site.limits.keepAliveMs);
    if (this.#heldBytes === 0) return;
    // Not right here: a hundred pipelined requests with ready answers must not nest a hundred calls.
    setImmediate(this.#onNextHeld);
  }

  readonly #onNextHeld = (): void => {
    if (this.#phase !== 'head' || this.#heldBytes === 0) return;
    this.#onSocketData(this.#takeHeld());
    this.#socket.resume();
  };

  #switchProtocols(head: ResponseHead, rest: Buffer): void {
    const stream = this.#stream;
    const { request } = this.#current();
    if (request.upgrade === undefined || stream === undefined || this.#requestBody !== undefined) {
      throw new TunnelError('ORIGIN_INVALID', 'Cannot switch protocols: the visitor did not ask for it');
    }
    this.#writeResponseHead(head, { kind: 'none' }, true);
    if (rest.length > 0) this.#writer.piece(rest);
    this.#writer.flush();
    this.#phase = 'tunnel';
    this.#response = 'none';
    this.#stream = undefined;
    this.#leaveSocket();
    if (this.#heldBytes > 0) stream.write(this.#takeHeld());
    this.#joinUpgraded(stream);
  }

  #joinUpgraded(stream: ByteStream): void {
    new Splice(this.#socket, stream, {
      deadlines: this.#site.deadlines,
      idleMs: this.#site.limits.upgradedIdleMs,
      onClose: () => this.#site.closed(this),
    });
  }

  #leaveSocket(): void {
    this.#site.deadlines.unwatch(this);
    this.#socket.off('data', this.#onSocketData);
    this.#socket.off('drain', this.#onSocketDrain);
    this.#socket.off('end', this.#onSocketEnd);
    this.#socket.off('error', this.#onSocketError);
    this.#socket.off('close', this.#onSocketClose);
  }

  onDrain(): void {
    if (this.#heldBytes < HELD_BYTES) this.#socket.resume();
  }

  onEnd(): void {
    try {
      this.#endResponse();
    } catch (error) {
      this.#fail(asTunnelError(error, 'ORIGIN_INVALID'));
    }
  }

  /** The origin ended: that completes a response which is framed by it, and breaks every other one. */
  #endResponse(): void {
    if (this.#response === 'none') this.#endStream();
    else if (this.#response === 'head') this.#originClosed();
    else {
      this.#responseBody?.end();
      this.#streamRoute = undefined;
      this.#finish();
    }
  }

  #originClosed(): void {
    if (this.#mayRepeat()) this.#repeat();
    else throw new TunnelError('ORIGIN_CLOSED', 'The origin closed the connection without a response');
  }

  onClose(error: TunnelError | undefined): void {
    this.#stream = undefined;
    if (this.#response === 'none') return;
    if (error?.code === 'STREAM_RESET' && this.#mayRepeat()) this.#repeat();
    else this.#fail(error ?? new TunnelError('ORIGIN_CLOSED', 'The origin closed the connection without a response'));
  }

  /**
   * An idle connection may be closed by the origin in the same moment as the next request is sent on it. A request
   * that is safe to repeat and of which nothing was answered is sent once more, on a new stream (RFC 9110 §9.2.2).
   */
  #mayRepeat(): boolean {
    const request = this.#request;
    if (this.#streamIsNew || request === undefined || this.#response !== 'head' || this.#responseHeads.partial)
      return false;
    const safe = request.method === 'GET' || request.method === 'HEAD' || request.method === 'OPTIONS';
    return safe && request.body.kind === 'none' && this.#interimResponses === 0;
  }

  #repeat(): void {
    const { request, route } = this.#current();
    this.#response = 'none';
    try {
      this.#open(route, request);
    } catch (error) {
      this.#fail(asTunnelError(error));
    }
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
    // A body that we ourselves hold back because the origin is slow is not the visitor's fault.
    if (this.#requestBody !== undefined && this.#socket.isPaused()) return;
    if (this.#phase === 'exchange' && this.#response === 'head' && this.#requestBody === undefined) {
      this.#fail(new TunnelError('ORIGIN_TIMEOUT', 'The origin did not begin its response in time'));
    } else if (this.#phase === 'head' && !this.#requestHeads.partial) {
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
    this.#site.refused(error.code);
    this.#dropStream(error);
    if (this.#responseBegun) this.#socket.destroy();
    else this.#answer(error);
  }

  #answer(error: TunnelError): void {
    const request = this.#request;
    const complete = request !== undefined && this.#requestBody === undefined && error.code !== 'REQUEST_INVALID';
    const keepAlive = complete && request.keepAlive && !this.#closeAfter && !this.#site.draining;
    if (request === undefined) this.#requestId = this.#site.requestId(undefined);
    this.#response = 'none';
    const { head, body } = errorResponse(error, request, {
      requestId: this.#requestId,
      keepAlive,
      extra: this.#site.responseFields,
    });
    this.#writer.head(head);
    this.#writer.piece(body);
    this.#writer.flush();
    if (keepAlive) this.#next();
    else this.#linger();
  }

  /** Ends our side and reads on for a while: closing with unread bytes would reset what we just sent. */
  #linger(): void {
    this.#phase = 'lingering';
    this.#held = [];
    this.#heldBytes = 0;
    this.#dropStream(new TunnelError('STREAM_RESET', 'The connection ended'));
    this.#setDeadline(LINGER_MS);
    this.#socket.end();
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

/** A body that ends with the connection becomes chunked where the visitor knows chunks: an abort can be told then. */
function visitorFraming(body: BodyFraming, visitorVersion: 10 | 11): BodyFraming {
  if (body.kind === 'until-close' && visitorVersion === 11) return { kind: 'chunked' };
  if (body.kind === 'chunked' && visitorVersion === 10) return { kind: 'until-close' };
  return body;
}
