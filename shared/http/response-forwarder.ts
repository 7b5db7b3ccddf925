/**
 * ResponseForwarder: carries responses from an origin to a visitor: interim heads, the final head written anew, the body
 * as it comes. It decides how a body is framed for its visitor, and where a response ends.
 *
 *   idle → head → body → idle        idle: no request is waiting for the origin
 *
 * Owned by: HttpConnection, one for all its exchanges.
 */
import { TunnelError } from '../errors.js';
import {
  type BodyFraming,
  BodyReader,
  CHUNK_TAIL,
  CHUNKED,
  chunkHead,
  LAST_CHUNK,
  NO_BODY,
  UNTIL_CLOSE,
} from './body.js';
import { HeadBuffer, type HeadLimits } from './head-buffer.js';
import type { RequestHead } from './request-head.js';
import { parseResponseHead, type ResponseHead, writeResponseHead } from './response-head.js';
import type { VisitorWriter } from './visitor-writer.js';

/** 1xx responses before the final one; more is an origin gone wrong. */
const MAX_INTERIM_RESPONSES = 32;

const SWITCHING_PROTOCOLS = 101;
const FIRST_FINAL_STATUS = 200;

/** Who is told how an exchange goes on. */
export interface ResponseOwner {
  readonly limits: HeadLimits;
  /** Ready field lines for final responses. */
  readonly responseFields: string;
  /** The final head is about to be written: whether the visitor's connection may live on after this response. */
  responseBegins(status: number, framing: BodyFraming): boolean;
  /** The last byte was given to the writer. `reusable` when the origin's connection may carry another exchange. */
  responseEnded(reusable: boolean): void;
  /** The origin switched protocols, and its head was given to the writer; `rest` follows it. */
  protocolsSwitched(rest: Buffer): void;
}

export class ResponseForwarder {
  readonly #writer: VisitorWriter;
  readonly #owner: ResponseOwner;
  #heads: HeadBuffer;
  #state: 'idle' | 'head' | 'body' = 'idle';
  #request: RequestHead | undefined;
  #body: BodyReader | undefined;
  #reframed = false;
  #reusable = false;
  #interimResponses = 0;

  constructor(writer: VisitorWriter, owner: ResponseOwner) {
    this.#writer = writer;
    this.#owner = owner;
    this.#heads = new HeadBuffer(owner.limits, 'ORIGIN_INVALID');
  }

  get state(): 'idle' | 'head' | 'body' {
    return this.#state;
  }

  /** True while not a byte of the awaited response has arrived. */
  get untouched(): boolean {
    return this.#state === 'head' && !this.#heads.partial && this.#interimResponses === 0;
  }

  /** A request goes out: its response is awaited. */
  expect(request: RequestHead): void {
    if (this.#heads.partial) this.#heads = new HeadBuffer(this.#owner.limits, 'ORIGIN_INVALID');
    this.#state = 'head';
    this.#request = request;
    this.#interimResponses = 0;
  }

  /** Nothing is awaited any more. */
  forget(): void {
    this.#state = 'idle';
    this.#body = undefined;
    this.#reframed = false;
  }

  /** Reads bytes of the origin, up to the end of the response. False when bytes are left that no request asked for. */
  read(piece: Buffer): boolean {
    let at = 0;
    while (at < piece.length) {
      if (this.#state === 'head') at = this.#readHead(piece, at);
      else if (this.#state === 'body') at = this.#readBody(piece, at);
      else return false;
    }
    return true;
  }

  /** The origin ended: that completes a response which is framed by it, and breaks every other one (ORIGIN_CLOSED). */
  end(): void {
    if (this.#state === 'head') {
      throw new TunnelError('ORIGIN_CLOSED', 'The origin closed the connection without a response');
    }
    this.#body?.end();
    this.#finish();
  }

  #readHead(piece: Buffer, at: number): number {
    const text = this.#heads.push(piece, at);
    if (text === undefined) return piece.length;
    const request = this.#request;
    if (request === undefined) return piece.length;
    const { next } = this.#heads;
    const head = parseResponseHead(text, request.method, this.#owner.limits);
    if (head.status === SWITCHING_PROTOCOLS) {
      this.#switch(head, request, piece.subarray(next));
      return piece.length;
    }
    if (head.status < FIRST_FINAL_STATUS) this.#passInterim(head, request);
    else this.#begin(head, request);
    return next;
  }

  #switch(head: ResponseHead, request: RequestHead, rest: Buffer): void {
    if (request.upgrade === undefined) {
      throw new TunnelError('ORIGIN_INVALID', 'Cannot switch protocols: the visitor did not ask for it');
    }
    this.forget();
    this.#writeHead(head, request, NO_BODY, true);
    this.#owner.protocolsSwitched(rest);
  }

  /** 100, 103 and their kind go on as they are; HTTP/1.0 has none. */
  #passInterim(head: ResponseHead, request: RequestHead): void {
    this.#interimResponses += 1;
    if (this.#interimResponses > MAX_INTERIM_RESPONSES) {
      throw new TunnelError('ORIGIN_INVALID', 'Cannot read response: too many interim responses');
    }
    if (request.version === 11) this.#writeHead(head, request, NO_BODY, true);
  }

  #begin(head: ResponseHead, request: RequestHead): void {
    const framing = visitorFraming(head.body, request.version);
    this.#state = 'body';
    this.#reusable = head.keepAlive;
    this.#reframed = head.body.kind === 'until-close' && framing.kind === 'chunked';
    this.#writeHead(head, request, framing, this.#owner.responseBegins(head.status, framing));
    this.#body = new BodyReader(head.body, {
      output: framing.kind === 'chunked' && !this.#reframed ? 'framed' : 'payload',
      trailers: 'keep',
      code: 'ORIGIN_INVALID',
    });
    if (this.#body.done) this.#finish();
  }

  #writeHead(head: ResponseHead, request: RequestHead, framing: BodyFraming, keepAlive: boolean): void {
    const extra = head.status < FIRST_FINAL_STATUS ? '' : this.#owner.responseFields;
    this.#writer.head(writeResponseHead(head, { framing, keepAlive, visitorVersion: request.version, extra }));
  }

  #readBody(piece: Buffer, at: number): number {
    const body = this.#body;
    if (body === undefined) return piece.length;
    const next = body.read(piece, at, this.#reframed ? this.#writeChunk : this.#writePiece);
    if (body.done) this.#finish();
    return next;
  }

  readonly #writePiece = (piece: Buffer): void => {
    this.#writer.piece(piece);
  };

  readonly #writeChunk = (piece: Buffer): void => {
    this.#writer.piece(chunkHead(piece.length));
    this.#writer.piece(piece);
    this.#writer.piece(CHUNK_TAIL);
  };

  #finish(): void {
    if (this.#reframed) this.#writer.piece(LAST_CHUNK);
    this.forget();
    this.#owner.responseEnded(this.#reusable);
  }
}

/** A body that ends with the connection becomes chunked where the visitor knows chunks: an abort can be told then. */
function visitorFraming(body: BodyFraming, visitorVersion: 10 | 11): BodyFraming {
  if (body.kind === 'until-close' && visitorVersion === 11) return CHUNKED;
  if (body.kind === 'chunked' && visitorVersion === 10) return UNTIL_CLOSE;
  return body;
}
