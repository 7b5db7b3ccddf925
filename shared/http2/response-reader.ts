/**
 * ResponseReader: takes apart what an origin sends on one stream: interim heads, the head, the body's payload, trailers.
 * The counterpart of shared/http's ResponseForwarder for visitors to whom no HTTP/1.1 is written.
 *
 *   idle → head → body → idle        idle: no request is waiting for the origin
 *
 * Owned by: an exchange.
 */
import { TunnelError } from '../errors.js';
import { BodyReader } from '../http/body.js';
import type { FieldPairs } from '../http/field-lines.js';
import { HeadBuffer, type HeadLimits } from '../http/head-buffer.js';
import { parseResponseHead, type ResponseHead } from '../http/response-head.js';

/** 1xx responses before the final one; more is an origin gone wrong. */
const MAX_INTERIM_RESPONSES = 32;

const SWITCHING_PROTOCOLS = 101;
const FIRST_FINAL_STATUS = 200;

/** Who is told what the origin said. */
export interface ResponseSink {
  onInterim(head: ResponseHead): void;
  /** The origin switched protocols; `rest` is what it said in the new one already. */
  onSwitched(head: ResponseHead, rest: Buffer): void;
  onHead(head: ResponseHead): void;
  /** A piece of the body: part of the chunk that was read. */
  onPiece(piece: Buffer): void;
  /** The response is complete. `reusable` when the stream may carry another exchange. */
  onResponseEnd(trailers: FieldPairs | undefined, reusable: boolean): void;
}

export class ResponseReader {
  readonly #sink: ResponseSink;
  readonly #heads: HeadBuffer;
  readonly #limits: HeadLimits;
  readonly #method: string;
  #state: 'head' | 'body' | 'idle' = 'head';
  #body: BodyReader | undefined;
  #trailers: FieldPairs | undefined;
  #reusable = false;
  #interimResponses = 0;

  /** @param method of the request that is answered */
  constructor(sink: ResponseSink, method: string, limits: HeadLimits) {
    this.#sink = sink;
    this.#method = method;
    this.#limits = limits;
    this.#heads = new HeadBuffer(limits, 'ORIGIN_INVALID');
  }

  get state(): 'head' | 'body' | 'idle' {
    return this.#state;
  }

  /** True while not a byte of the response has arrived. */
  get untouched(): boolean {
    return this.#state === 'head' && !this.#heads.partial && this.#interimResponses === 0;
  }

  /** Reads bytes of the origin. False when some are left that no request asked for. Throws ORIGIN_INVALID. */
  read(piece: Buffer): boolean {
    let at = 0;
    while (at < piece.length) {
      if (this.#state === 'head') at = this.#readHead(piece, at);
      else if (this.#state === 'body') at = this.#readBody(piece, at);
      else return false;
    }
    return true;
  }

  /** The origin ended: that completes a response which is framed by it, and breaks every other one. */
  end(): void {
    if (this.#state === 'head') {
      throw new TunnelError('ORIGIN_CLOSED', 'The origin closed the connection without a response');
    }
    this.#body?.end();
    if (this.#state === 'body') this.#finish();
  }

  #readHead(piece: Buffer, at: number): number {
    const text = this.#heads.push(piece, at);
    if (text === undefined) return piece.length;
    const { next } = this.#heads;
    const head = parseResponseHead(text, this.#method, this.#limits);
    if (head.status === SWITCHING_PROTOCOLS) {
      this.#state = 'idle';
      this.#sink.onSwitched(head, piece.subarray(next));
      return piece.length;
    }
    if (head.status < FIRST_FINAL_STATUS) this.#passInterim(head);
    else this.#begin(head);
    return next;
  }

  #passInterim(head: ResponseHead): void {
    this.#interimResponses += 1;
    if (this.#interimResponses > MAX_INTERIM_RESPONSES) {
      throw new TunnelError('ORIGIN_INVALID', 'Cannot read response: too many interim responses');
    }
    this.#sink.onInterim(head);
  }

  #begin(head: ResponseHead): void {
    this.#state = 'body';
    this.#reusable = head.keepAlive;
    this.#body = new BodyReader(head.body, {
      output: 'payload',
      trailers: 'keep',
      code: 'ORIGIN_INVALID',
      onTrailers: (trailers) => {
        this.#trailers = trailers;
      },
    });
    this.#sink.onHead(head);
    if (this.#body.done) this.#finish();
  }

  #readBody(piece: Buffer, at: number): number {
    const body = this.#body;
    if (body === undefined) return piece.length;
    const next = body.read(piece, at, this.#onPiece);
    if (body.done) this.#finish();
    return next;
  }

  readonly #onPiece = (piece: Buffer): void => this.#sink.onPiece(piece);

  #finish(): void {
    this.#state = 'idle';
    this.#sink.onResponseEnd(this.#trailers, this.#reusable);
  }
}
