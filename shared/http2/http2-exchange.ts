/**
 * Http2Exchange: one request of an HTTP/2 visitor and its response, carried as an HTTP/1.1 exchange over one stream.
 *
 * Request and response end each by themselves, in any order, so that both may flow at once (gRPC). What a turn brings of
 * the response leaves together: a small one is one HEADERS and one DATA frame. Whoever does not read holds up its own
 * exchange only: HTTP/2's window closes here, the stream's window behind it.
 *
 *   opening → exchange → answered → over     answered: all was said to the visitor; its stream closes by itself
 *             exchange → tunnel → over       after the origin's 101 to a WebSocket
 *
 * Owns: the visitor's HTTP/2 stream, and the stream to the origin until it is handed back. Owned by: Http2Connection.
 */
import { constants, type ServerHttp2Stream } from 'node:http2';
import type { ByteStream, ByteStreamHandler } from '../byte-stream.js';
import { asTunnelError, type ErrorCode, TunnelError } from '../errors.js';
import { CHUNK_TAIL, chunkHead, LAST_CHUNK } from '../http/body.js';
import { errorAnswer } from '../http/error-response.js';
import { Exchange } from '../http/exchange.js';
import type { FieldPairs } from '../http/field-lines.js';
import type { HttpRoute, HttpSite } from '../http/http-site.js';
import { fieldValue, writeRequestHead } from '../http/request-head.js';
import type { ResponseHead } from '../http/response-head.js';
import { interimFields, responseFields, trailerFields } from './outgoing-fields.js';
import { type Http2Request, readRequest, readTrailerLines } from './read-request.js';
import { ResponseReader, type ResponseSink } from './response-reader.js';
import { acceptOf, newWebSocketKey } from './web-socket-key.js';

const { NGHTTP2_NO_ERROR } = constants;

const NOTHING = Buffer.alloc(0);
const NEVER = Number.POSITIVE_INFINITY;
const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);
const OK = 200;
/** What is reported of a WebSocket, whatever the version of HTTP. */
const SWITCHING_PROTOCOLS = 101;

/** What an exchange needs of its connection. */
export interface ExchangeOwner {
  readonly site: HttpSite;
  /** Fields for each final response. */
  readonly responseFields: FieldPairs;
  /** A stream that rests, if there is one for this route. */
  takeStream(route: HttpRoute): ByteStream | undefined;
  /** All was said on the stream; `reusable` when it may carry another exchange. */
  giveStream(stream: ByteStream, route: HttpRoute, reusable: boolean): void;
  /** A piece of a request was received. */
  onReceived(bytes: number): void;
  /** A piece of a response was written. */
  onWritten(bytes: number): void;
  /** The exchange is over; called once. `cut` when the visitor, or its mistakes, ended it early. */
  onOver(exchange: Http2Exchange, cut: boolean): void;
}

type Phase = 'opening' | 'exchange' | 'tunnel' | 'answered' | 'over';

export class Http2Exchange implements ByteStreamHandler, ResponseSink {
  readonly #visitor: ServerHttp2Stream;
  readonly #owner: ExchangeOwner;
  readonly #site: HttpSite;
  #phase: Phase = 'opening';
  #deadlineAtMs = NEVER;

  #request: Http2Request | undefined;
  #requestId = '';
  /** What is reported when all is over. */
  readonly #record = new Exchange();
  #failure: ErrorCode | undefined;
  #webSocketKey = '';
  /** A gRPC call: the messages of its request may be as far apart as it likes. */
  #isCall = false;
  /** Whether more of the request's body is to come, and how many bytes its length still allows. */
  #requestOpen: boolean;
  #requestBytes = NEVER;
  #requestTrailers = '';

  #route: HttpRoute | undefined;
  #stream: ByteStream | undefined;
  #streamIsNew = true;
  #retired = false;

  #response: ResponseReader | undefined;
  /** Of the response: what came in this turn and is not written yet. */
  #head: ResponseHead | undefined;
  #pieces: Buffer[] = [];
  #ended = false;
  #trailers: FieldPairs | undefined;
  #reusable = false;
  #waitsForTrailers = false;

  /** The visitor's side takes no more for now; likewise the origin's. */
  #visitorFull = false;
  #originFull = false;
  #cutByUs = false;

  /** @param fields of the request: names and values in turn. @param ends whether it has no body */
  constructor(visitor: ServerHttp2Stream, fields: readonly string[], ends: boolean, owner: ExchangeOwner) {
    this.#visitor = visitor;
    this.#owner = owner;
    this.#site = owner.site;
    this.#requestOpen = !ends;
    // 'close' follows each error, and says all that matters.
    visitor.on('error', ignore);
    visitor.on('close', () => this.#onVisitorClose());
    try {
      this.#begin(fields, ends);
    } catch (error) {
      this.#fail(asTunnelError(error));
    }
  }

  /** Of the request: bytes that were received and wait for the origin to take them. */
  get waitingBytes(): number {
    return this.#visitor.readableLength;
  }

  onTick(nowMs: number): void {
    if (nowMs < this.#deadlineAtMs) return;
    if (this.#phase !== 'exchange' || this.#visitorFull) {
      this.#cut(
        new TunnelError('LIMIT_EXCEEDED', 'The visitor reads nothing, or the connection was idle for too long'),
      );
    } else if (this.#originFull)
      this.#fail(new TunnelError('ORIGIN_TIMEOUT', 'The origin stopped reading the request'));
    else if (this.#awaitsVisitor) {
      this.#fail(new TunnelError('REQUEST_INVALID', 'The request did not arrive in time', { status: 408 }));
    } else this.#fail(new TunnelError('ORIGIN_TIMEOUT', 'The origin did not begin its response in time'));
  }

  // ---- the request ----

  #begin(fields: readonly string[], ends: boolean): void {
    const request = readRequest(fields, ends, this.#site.limits, () => {
      this.#webSocketKey = newWebSocketKey();
      return this.#webSocketKey;
    });
    const { head } = request;
    this.#request = request;
    this.#isCall = fieldValue(head, 'content-type').startsWith('application/grpc');
    if (head.body.kind === 'length') this.#requestBytes = head.body.bytes;
    this.#requestId = this.#site.requestId(head);
    this.#record.begin(head, this.#requestId);
    const route = this.#site.route(head);
    this.#route = route;
    this.#record.route = route;
    route.countRequest();
    const rested = this.#owner.takeStream(route);
    if (rested === undefined) this.#open(request, route);
    else this.#attach(rested, false, request, route);
  }

  #open(request: Http2Request, route: HttpRoute): void {
    const opening = route.open(request.head, this.#requestId);
    if (!(opening instanceof Promise)) {
      this.#attach(opening, true, request, route);
      return;
    }
    this.#phase = 'opening';
    opening.then(
      (stream) => this.#onOpened(stream, request, route),
      (error: unknown) => this.#fail(asTunnelError(error)),
    );
  }

  #onOpened(stream: ByteStream, request: Http2Request, route: HttpRoute): void {
    if (this.#phase === 'opening') this.#attach(stream, true, request, route);
    else stream.reset(new TunnelError('STREAM_RESET', 'The visitor left while waiting'));
  }

  #attach(stream: ByteStream, isNew: boolean, { head }: Http2Request, route: HttpRoute): void {
    this.#stream = stream;
    this.#streamIsNew = isNew;
    this.#phase = 'exchange';
    this.#response = new ResponseReader(this, head.method, this.#site.limits);
    stream.handler = this;
    const forwarded = this.#site.forwarded(head, this.#requestId);
    stream.write(Buffer.from(writeRequestHead(head, forwarded, route.hostHeader), 'latin1'));
    if (this.#awaitsVisitor) this.#readBody();
    this.#restartClock();
    stream.resume();
  }

  /** Whether it is the visitor's turn to go on with its request. The origin has to switch before a WebSocket says anything. */
  get #awaitsVisitor(): boolean {
    return this.#requestOpen && (this.#phase === 'tunnel' || this.#webSocketKey === '');
  }

  #readBody(): void {
    this.#visitor.on('trailers', (_fields, _flags, raw?: readonly string[]) => this.#onRequestTrailers(raw));
    this.#visitor.on('end', () => this.#onRequestEnd());
    this.#visitor.on('data', (piece: Buffer) => this.#onRequestData(piece));
  }

  #onRequestData(piece: Buffer): void {
    const stream = this.#stream;
    this.#owner.onReceived(piece.length);
    this.#record.bytesIn += piece.length;
    if (stream === undefined || piece.length === 0) return;
    // More than was promised would be the next request on this stream.
    this.#requestBytes -= piece.length;
    if (this.#requestBytes < 0) {
      this.#fail(new TunnelError('REQUEST_INVALID', 'Cannot read request: its body is longer than its content-length'));
      return;
    }
    this.#restartClock();
    if (!this.#sendBody(stream, piece)) this.#holdVisitor();
  }

  #sendBody(stream: ByteStream, piece: Buffer): boolean {
    if (this.#request?.head.body.kind !== 'chunked') return stream.write(piece);
    stream.write(chunkHead(piece.length));
    stream.write(piece);
    return stream.write(CHUNK_TAIL);
  }

  #holdVisitor(): void {
    this.#originFull = true;
    this.#visitor.pause();
  }

  #onRequestTrailers(raw: readonly string[] | undefined): void {
    if (this.#request?.head.acceptsTrailers !== true || raw === undefined) return;
    try {
      this.#requestTrailers = readTrailerLines(raw);
    } catch (error) {
      this.#fail(asTunnelError(error));
    }
  }

  #onRequestEnd(): void {
    // node:http2 ends what was cut as well; 'close' follows then.
    if (this.#visitor.aborted) return;
    const stream = this.#stream;
    this.#requestOpen = false;
    if (stream === undefined) return;
    if (this.#phase === 'tunnel') stream.end();
    else if (this.#request?.head.body.kind === 'chunked') this.#sendLastChunk(stream);
    else if (this.#requestBytes > 0) {
      this.#fail(
        new TunnelError('REQUEST_INVALID', 'Cannot read request: its body is shorter than its content-length'),
      );
      return;
    }
    this.#restartClock();
  }

  #sendLastChunk(stream: ByteStream): void {
    stream.write(
      this.#requestTrailers === '' ? LAST_CHUNK : Buffer.from(`0\r\n${this.#requestTrailers}\r\n`, 'latin1'),
    );
  }

  // ---- from the origin ----

  onData(piece: Buffer): void {
    try {
      if (this.#phase === 'tunnel') this.onPiece(piece);
      else if (this.#response?.read(piece) === false) {
        this.#reusable = false;
      }
      this.#flush();
    } catch (error) {
      this.#fail(asTunnelError(error, 'ORIGIN_INVALID'));
    }
  }

  onDrain(): void {
    this.#originFull = false;
    this.#restartClock();
    this.#visitor.resume();
  }

  onEnd(): void {
    try {
      if (this.#phase === 'tunnel') this.#ended = true;
      else if (this.#mayRepeat()) this.#repeat();
      else if (this.#response?.state !== 'idle') this.#response?.end();
      this.#reusable = false;
      this.#flush();
    } catch (error) {
      this.#fail(asTunnelError(error, 'ORIGIN_INVALID'));
    }
  }

  onClose(error: TunnelError | undefined): void {
    this.#stream = undefined;
    if (this.#phase === 'tunnel' && error !== undefined) this.#cut(error);
    if (this.#phase !== 'exchange') return;
    if (error?.code === 'STREAM_RESET' && this.#mayRepeat()) this.#tryToRepeat();
    else this.#fail(error ?? new TunnelError('ORIGIN_CLOSED', 'The origin closed the connection without a response'));
  }

  onRetire(): void {
    this.#retired = true;
  }

  /** As HttpConnection does it: an idle origin connection may close in the moment it is used again (RFC 9110 §9.2.2). */
  #mayRepeat(): boolean {
    if (this.#streamIsNew || this.#request === undefined || this.#response?.untouched !== true) return false;
    const { head, kind } = this.#request;
    return kind === 'plain' && SAFE_METHODS.has(head.method) && head.body.kind === 'none';
  }

  #repeat(): void {
    if (this.#request === undefined || this.#route === undefined) return;
    this.#dropStream('The request is repeated on another stream');
    this.#open(this.#request, this.#route);
  }

  #tryToRepeat(): void {
    try {
      this.#repeat();
    } catch (error) {
      this.#fail(asTunnelError(error));
    }
  }

  // ---- the response ----

  onInterim(head: ResponseHead): void {
    if (!this.#visitor.headersSent) this.#visitor.additionalHeaders(interimFields(head));
  }

  onHead(head: ResponseHead): void {
    if (this.#webSocketKey !== '' && head.status < 300) {
      throw new TunnelError('ORIGIN_INVALID', 'The origin answered a WebSocket handshake without switching');
    }
    this.#head = head;
    this.#restartClock();
  }

  onPiece(piece: Buffer): void {
    this.#pieces.push(piece);
  }

  onResponseEnd(trailers: FieldPairs | undefined, reusable: boolean): void {
    this.#ended = true;
    this.#trailers = trailers;
    this.#reusable = reusable;
  }

  /** RFC 8441 §5: the origin's 101 is a 200 to the visitor, and the HTTP/2 stream is the WebSocket's connection. */
  onSwitched(head: ResponseHead, rest: Buffer): void {
    if (this.#webSocketKey === '' || fieldValue(head, 'sec-websocket-accept') !== acceptOf(this.#webSocketKey)) {
      throw new TunnelError('ORIGIN_INVALID', 'Cannot switch protocols: the visitor did not ask for it');
    }
    this.#phase = 'tunnel';
    const fields = responseFields({ ...head, status: OK, body: { kind: 'until-close' } }, this.#owner.responseFields);
    delete fields['sec-websocket-accept'];
    this.#record.respond(SWITCHING_PROTOCOLS);
    this.#visitor.respond(fields);
    if (rest.length > 0) this.onPiece(rest);
    this.#readBody();
  }

  /** Writes what this turn brought. A visitor who does not read gets no more. */
  #flush(): void {
    if (this.#phase !== 'exchange' && this.#phase !== 'tunnel') return;
    if (this.#head !== undefined) this.#respond(this.#head);
    if (this.#pieces.length > 0 || this.#ended) this.#write();
    if (this.#ended && this.#phase === 'exchange') this.#settle();
  }

  #respond(head: ResponseHead): void {
    this.#head = undefined;
    this.#record.respond(head.status);
    const isEmpty = this.#ended && this.#pieces.length === 0 && this.#trailers === undefined;
    this.#waitsForTrailers = head.body.kind === 'chunked' && (!this.#ended || this.#trailers !== undefined);
    if (this.#waitsForTrailers) this.#visitor.on('wantTrailers', () => this.#onWantTrailers());
    this.#visitor.respond(responseFields(head, this.#owner.responseFields), {
      endStream: isEmpty,
      waitForTrailers: this.#waitsForTrailers,
    });
  }

  #write(): void {
    const [first = NOTHING, ...others] = this.#pieces;
    const bytes = others.length === 0 ? first : Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#owner.onWritten(bytes.length);
    this.#record.bytesOut += bytes.length;
    if (this.#ended) endWith(this.#visitor, bytes);
    else if (!this.#visitor.write(bytes)) this.#holdOrigin();
    if (this.#requestOpen) this.#restartClock();
  }

  #holdOrigin(): void {
    this.#visitorFull = true;
    this.#stream?.pause();
    this.#visitor.once('drain', () => this.#onVisitorDrain());
    this.#restartClock();
  }

  #onVisitorDrain(): void {
    this.#visitorFull = false;
    this.#restartClock();
    this.#stream?.resume();
  }

  #onWantTrailers(): void {
    if (this.#visitor.closed) return;
    this.#visitor.sendTrailers(this.#trailers === undefined ? {} : trailerFields(this.#trailers));
    // node:http2 sends them in the next turn, and not at all on a stream that was closed before.
    setImmediate(() => this.#stopRequest());
  }

  /** The response is complete. */
  #settle(): void {
    if (this.#awaitsVisitor) this.#dropStream('The origin answered before the request ended');
    this.#release();
    this.#finish();
  }

  /** All was said on the stream, so that it may carry another exchange. */
  #release(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream === undefined || this.#route === undefined) return;
    this.#owner.giveStream(stream, this.#route, this.#reusable && !this.#retired);
  }

  /** All was said; the visitor has to read it in time. */
  #finish(): void {
    this.#phase = 'answered';
    this.#deadlineAtMs = this.#site.deadlines.nowMs + this.#site.limits.bodyIdleMs;
    if (!this.#waitsForTrailers) this.#stopRequest();
  }

  /** Nobody wants what the visitor still sends of its request (RFC 9113 §8.1). */
  #stopRequest(): void {
    if (!this.#requestOpen || this.#visitor.closed) return;
    this.#visitor.removeAllListeners('data');
    this.#visitor.resume();
    this.#cutByUs = true;
    this.#visitor.close(NGHTTP2_NO_ERROR);
  }

  // ---- time, errors and ends ----

  /** Whoever is waited for decides how long. */
  #restartClock(): void {
    this.#deadlineAtMs = this.#site.deadlines.nowMs + this.#patienceMs();
  }

  #patienceMs(): number {
    const { bodyIdleMs, upgradedIdleMs } = this.#site.limits;
    if (this.#visitorFull) return this.#isConversation ? upgradedIdleMs : bodyIdleMs;
    if (this.#awaitsVisitor) return this.#isConversation || this.#responseBegun ? upgradedIdleMs : bodyIdleMs;
    return this.#responseBegun ? NEVER : (this.#route?.responseTimeoutMs ?? NEVER);
  }

  /** Both sides speak, or will, and either may be silent for long, as on any upgraded connection. */
  get #isConversation(): boolean {
    return this.#phase === 'tunnel' || this.#isCall;
  }

  get #responseBegun(): boolean {
    return this.#response?.state !== 'head';
  }

  #onVisitorClose(): void {
    const cut = this.#visitor.aborted || this.#visitor.rstCode !== NGHTTP2_NO_ERROR;
    // After an orderly end of both directions the last bytes are still on their way to the origin.
    if (this.#phase === 'tunnel' && !cut) this.#release();
    this.#phase = 'over';
    this.#dropStream('The visitor left');
    const left = cut && !this.#cutByUs ? 'STREAM_RESET' : undefined;
    if (this.#record.end(this.#failure ?? left)) this.#site.exchanged(this.#record);
    this.#owner.onOver(this, cut && !this.#cutByUs);
  }

  #dropStream(why: string): void {
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream === undefined) return;
    stream.handler = undefined;
    stream.reset(new TunnelError('STREAM_RESET', why));
  }

  /** Before the response began the visitor gets a page; afterwards only a cut stream tells the truth. */
  #fail(error: TunnelError): void {
    if (this.#phase === 'over' || this.#phase === 'answered') return;
    this.#failure = error.code;
    this.#site.refused(error.code, this.#request?.head);
    this.#dropStream(error.message);
    if (this.#visitor.headersSent || this.#visitor.closed || this.#visitor.destroyed) this.#cut(error);
    else this.#answer(error);
  }

  #answer(error: TunnelError): void {
    if (this.#request === undefined) {
      this.#requestId = this.#site.requestId(undefined);
      this.#record.begin(undefined, this.#requestId);
    }
    const { head, body } = errorAnswer(error, this.#request?.head, this.#requestId);
    this.#visitor.respond(responseFields(head, this.#owner.responseFields));
    this.#record.respond(error.status);
    this.#record.bytesOut += body.length;
    this.#owner.onWritten(body.length);
    endWith(this.#visitor, body);
    this.#finish();
  }

  /**
   * Resets the visitor's stream. By `destroy`, because `close` ends it first: what was cut would look complete. What
   * waits for the visitor waits no longer.
   */
  #cut(error: TunnelError): void {
    this.#cutByUs = true;
    this.#failure ??= error.code;
    this.#phase = 'answered';
    this.#dropStream(error.message);
    this.#visitor.destroy(error);
  }
}

/** A response without a body has ended already: one more write, even of nothing, would be an error. */
function endWith(visitor: ServerHttp2Stream, bytes: Buffer): void {
  if (bytes.length > 0) visitor.end(bytes);
  else visitor.end();
}

function ignore(): void {}
