/**
 * Http2Exchange: one request of an HTTP/2 visitor and its response, carried as an HTTP/1.1 exchange over one stream. It
 * decides which stream that is, what an error becomes (a page while no response has begun, a reset afterwards) and how long
 * each part may take.
 *
 * Request and response end each by themselves, in any order, so that both may flow at once (gRPC). Whoever does not read
 * holds up its own exchange only: HTTP/2's window closes here, the stream's window behind it.
 *
 *   opening → exchange → answered → over     answered: all was said to the visitor; its stream closes by itself
 *             exchange → tunnel → over       after the origin's 101 to a WebSocket
 *
 * Owns: the visitor's HTTP/2 stream, and the stream to the origin until it is handed back. Owned by: Http2Connection.
 */
import { constants, type ServerHttp2Stream } from 'node:http2';
import type { ByteStream, ByteStreamHandler } from '../bytes/byte-stream.js';
import { asTunnelError, type ErrorCode, TunnelError } from '../errors.js';
import { errorAnswer } from '../http/error-response.js';
import { Exchange } from '../http/exchange.js';
import type { FieldPairs } from '../http/field-lines.js';
import type { HttpRoute, HttpSite } from '../http/http-site.js';
import { fieldValue, type RequestHead, writeRequestHead } from '../http/request-head.js';
import type { ResponseHead } from '../http/response-head.js';
import { readRequest } from './read-request.js';
import { RequestBody, type RequestBodyOwner } from './request-body.js';
import { ResponseReader, type ResponseSink } from './response-reader.js';
import { VisitorResponse, type VisitorResponseOwner } from './visitor-response.js';
import { acceptOf, newWebSocketKey, withoutAccept } from './web-socket-key.js';

const NEVER = Number.POSITIVE_INFINITY;
const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);
const FIRST_REDIRECTION = 300;
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

export class Http2Exchange implements ByteStreamHandler, ResponseSink, RequestBodyOwner, VisitorResponseOwner {
  readonly responseFields: FieldPairs;
  readonly #visitor: ServerHttp2Stream;
  readonly #owner: ExchangeOwner;
  readonly #site: HttpSite;
  readonly #body: RequestBody;
  readonly #answer: VisitorResponse;
  /** What is reported when all is over. */
  readonly #record = new Exchange();
  #failure: ErrorCode | undefined;
  #phase: Phase = 'opening';
  #deadlineAtMs = NEVER;

  #request: RequestHead | undefined;
  #requestId = '';
  /** Of the Upgrade that a WebSocket's CONNECT became; '' for all other requests. */
  #webSocketKey = '';
  /** A gRPC call: the messages of its request may be as far apart as it likes. */
  #isCall = false;

  #route: HttpRoute | undefined;
  #stream: ByteStream | undefined;
  #streamIsNew = true;
  #retired = false;
  #reusable = false;
  /** What the origin says; undefined before there is one. */
  #response: ResponseReader | undefined;
  #cutByUs = false;

  /** @param fields of the request: names and values in turn. @param ends whether it has no body */
  constructor(visitor: ServerHttp2Stream, fields: readonly string[], ends: boolean, owner: ExchangeOwner) {
    this.#visitor = visitor;
    this.#owner = owner;
    this.#site = owner.site;
    this.responseFields = owner.responseFields;
    this.#body = new RequestBody(visitor, ends, this);
    this.#answer = new VisitorResponse(visitor, this);
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
    return this.#body.waitingBytes;
  }

  // ---- the request ----

  #begin(fields: readonly string[], ends: boolean): void {
    const head = readRequest(fields, ends, this.#site.limits, () => this.#makeWebSocketKey());
    this.#request = head;
    this.#isCall = fieldValue(head, 'content-type').startsWith('application/grpc');
    this.#requestId = this.#site.requestId(head);
    this.#record.begin(head, this.#requestId);
    const route = this.#site.route(head);
    this.#route = route;
    this.#record.route = route;
    route.countRequest();
    const rested = this.#owner.takeStream(route);
    if (rested === undefined) this.#open(head, route);
    else this.#attach(rested, false, head, route);
  }

  #makeWebSocketKey(): string {
    this.#webSocketKey = newWebSocketKey();
    return this.#webSocketKey;
  }

  #open(head: RequestHead, route: HttpRoute): void {
    const opening = route.open(head, this.#requestId);
    if (!(opening instanceof Promise)) {
      this.#attach(opening, true, head, route);
      return;
    }
    this.#phase = 'opening';
    this.#deadlineAtMs = NEVER;
    opening.then(
      (stream) => this.#onOpened(stream, head, route),
      (error: unknown) => this.#fail(asTunnelError(error)),
    );
  }

  #onOpened(stream: ByteStream, head: RequestHead, route: HttpRoute): void {
    if (this.#phase === 'opening') this.#attach(stream, true, head, route);
    else stream.reset(new TunnelError('STREAM_RESET', 'The visitor left while waiting'));
  }

  #attach(stream: ByteStream, isNew: boolean, head: RequestHead, route: HttpRoute): void {
    this.#stream = stream;
    this.#streamIsNew = isNew;
    this.#phase = 'exchange';
    this.#response = new ResponseReader(this, head.method, this.#site.limits);
    stream.handler = this;
    const forwarded = this.#site.forwarded(head, this.#requestId);
    stream.write(Buffer.from(writeRequestHead(head, forwarded, route.hostHeader), 'latin1'));
    // The origin has to switch before a WebSocket says anything.
    if (this.#webSocketKey === '') this.#body.flowInto(stream, head.body, head.acceptsTrailers);
    this.#restartClock();
    stream.resume();
  }

  /** RequestBodyOwner. */
  onBodyPiece(bytes: number): void {
    this.#owner.onReceived(bytes);
    this.#record.bytesIn += bytes;
    if (this.#phase !== 'answered') this.#restartClock();
  }

  /** RequestBodyOwner. */
  onBodyEnd(): void {
    this.#restartClock();
  }

  /** RequestBodyOwner. */
  onBodyFailed(error: unknown): void {
    this.#fail(asTunnelError(error));
  }

  // ---- from the origin ----

  onData(piece: Buffer): void {
    try {
      if (this.#phase === 'tunnel') this.onPiece(piece);
      else if (this.#response?.read(piece) === false) this.#reusable = false;
      this.#flush();
    } catch (error) {
      this.#fail(asTunnelError(error, 'ORIGIN_INVALID'));
    }
  }

  onDrain(): void {
    this.#restartClock();
    this.#body.resume();
  }

  onEnd(): void {
    try {
      if (this.#mayRepeat()) {
        this.#repeat();
        return;
      }
      if (this.#phase === 'tunnel') this.#answer.end();
      else this.#response?.end();
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
    const request = this.#request;
    if (this.#streamIsNew || request === undefined || this.#response?.untouched !== true) return false;
    return SAFE_METHODS.has(request.method) && request.body.kind === 'none' && this.#webSocketKey === '';
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

  /** ResponseSink. */
  onInterim(head: ResponseHead): void {
    this.#answer.interim(head);
  }

  /** ResponseSink. */
  onHead(head: ResponseHead): void {
    if (this.#webSocketKey !== '' && head.status < FIRST_REDIRECTION) {
      throw new TunnelError('ORIGIN_INVALID', 'The origin answered a WebSocket handshake without switching');
    }
    this.#record.respond(head.status);
    this.#answer.head(head);
    this.#restartClock();
  }

  /** ResponseSink. */
  onPiece(piece: Buffer): void {
    this.#answer.piece(piece);
  }

  /** ResponseSink. */
  onResponseEnd(trailers: FieldPairs | undefined, reusable: boolean): void {
    this.#reusable = reusable;
    this.#answer.end(trailers);
  }

  /** ResponseSink. The origin's 101 is a 200 to the visitor, whose stream is the WebSocket's connection (RFC 8441 §5). */
  onSwitched(head: ResponseHead, rest: Buffer): void {
    const isAsked = this.#webSocketKey !== '' && this.#stream !== undefined;
    if (!isAsked || fieldValue(head, 'sec-websocket-accept') !== acceptOf(this.#webSocketKey)) {
      throw new TunnelError('ORIGIN_INVALID', 'Cannot switch protocols: the visitor did not ask for it');
    }
    this.#phase = 'tunnel';
    this.#record.respond(SWITCHING_PROTOCOLS);
    this.#answer.head(withoutAccept(head));
    if (rest.length > 0) this.#answer.piece(rest);
    if (this.#stream !== undefined) this.#body.flowInto(this.#stream, head.body, false);
    this.#restartClock();
  }

  // ---- to the visitor ----

  /** Gives the visitor what this turn brought. One who does not read gets no more. */
  #flush(): void {
    const { ended } = this.#answer;
    if (!this.#answer.flush()) this.#stream?.pause();
    if (ended && this.#phase === 'exchange') this.#settle();
    else if (this.#answer.full || this.#body.open) this.#restartClock();
  }

  /** VisitorResponseOwner. */
  onWritten(bytes: number): void {
    this.#owner.onWritten(bytes);
    this.#record.bytesOut += bytes;
  }

  /** VisitorResponseOwner. */
  onVisitorDrain(): void {
    if (this.#phase !== 'answered') this.#restartClock();
    this.#stream?.resume();
  }

  /** VisitorResponseOwner. */
  onResponseSaid(): void {
    if (this.#phase === 'tunnel' || !this.#body.open) return;
    this.#cutByUs = true;
    this.#body.stop();
  }

  /** The response is complete: the stream may carry another exchange, unless its request is not. */
  #settle(): void {
    if (this.#body.owed) this.#dropStream('The origin answered before the request ended');
    this.#release();
    this.#awaitReader();
  }

  #release(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream === undefined || this.#route === undefined) return;
    this.#owner.giveStream(stream, this.#route, this.#reusable && !this.#retired);
  }

  /** All was said; the visitor has to read it in time. */
  #awaitReader(): void {
    this.#phase = 'answered';
    this.#deadlineAtMs = this.#site.deadlines.nowMs + this.#site.limits.bodyIdleMs;
  }

  // ---- time, errors and ends ----

  onTick(nowMs: number): void {
    if (nowMs >= this.#deadlineAtMs) this.#onLate();
  }

  #onLate(): void {
    if (this.#phase !== 'exchange' || this.#answer.full) {
      this.#cut(
        new TunnelError('LIMIT_EXCEEDED', 'The visitor reads nothing, or the connection was idle for too long'),
      );
    } else if (this.#body.full) {
      this.#fail(new TunnelError('ORIGIN_TIMEOUT', 'The origin stopped reading the request'));
    } else if (this.#awaitsVisitor) {
      this.#fail(new TunnelError('REQUEST_INVALID', 'The request did not arrive in time', { status: 408 }));
    } else {
      this.#fail(new TunnelError('ORIGIN_TIMEOUT', 'The origin did not begin its response in time'));
    }
  }

  /** Whoever is waited for decides how long. */
  #restartClock(): void {
    this.#deadlineAtMs = this.#site.deadlines.nowMs + this.#patienceMs();
  }

  #patienceMs(): number {
    const { bodyIdleMs, upgradedIdleMs } = this.#site.limits;
    const responseBegun = this.#response?.state !== 'head';
    if (this.#answer.full) return this.#isConversation ? upgradedIdleMs : bodyIdleMs;
    if (this.#awaitsVisitor) return this.#isConversation || responseBegun ? upgradedIdleMs : bodyIdleMs;
    return responseBegun ? NEVER : (this.#route?.responseTimeoutMs ?? NEVER);
  }

  /** Whether it is the visitor's turn to go on with its request. */
  get #awaitsVisitor(): boolean {
    return this.#body.open && (this.#phase === 'tunnel' || this.#webSocketKey === '');
  }

  /** Both sides speak, or will, and either may be silent for long, as on any upgraded connection. */
  get #isConversation(): boolean {
    return this.#phase === 'tunnel' || this.#isCall;
  }

  #onVisitorClose(): void {
    const cut = this.#visitor.aborted || this.#visitor.rstCode !== constants.NGHTTP2_NO_ERROR;
    const left = cut && !this.#cutByUs;
    // After an orderly end of both directions the last bytes are still on their way to the origin.
    if (this.#phase === 'tunnel' && !cut) this.#release();
    this.#phase = 'over';
    this.#dropStream('The visitor left');
    if (left) this.#failure ??= 'STREAM_RESET';
    if (this.#record.end(this.#failure)) this.#site.exchanged(this.#record);
    this.#owner.onOver(this, left);
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
    this.#site.refused(error.code, this.#request);
    this.#dropStream(error.message);
    if (this.#answer.begun || this.#visitor.closed || this.#visitor.destroyed) this.#cut(error);
    else this.#refuse(error);
  }

  #refuse(error: TunnelError): void {
    if (this.#request === undefined) {
      this.#requestId = this.#site.requestId(undefined);
      this.#record.begin(undefined, this.#requestId);
    }
    this.#record.respond(error.status);
    const { head, body } = errorAnswer(error, this.#request, this.#requestId);
    this.#awaitReader();
    this.#answer.head(head);
    if (body.length > 0) this.#answer.piece(body);
    this.#answer.end();
    this.#answer.flush();
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

function ignore(): void {}
