/**
 * Exchange: what becomes known of one request and its response while they pass: when, how much, how it ended. It is what
 * metrics and access logs are made of, so it must cost nothing: an HTTP/1.1 connection uses one for all its exchanges.
 *
 *   idle → running → idle …
 *
 * Owned by: whoever carries the exchange.
 */
import type { ErrorCode } from '../errors.js';
import type { ExchangeRecord, HttpRoute } from './http-site.js';
import type { RequestHead } from './request-head.js';

export class Exchange implements ExchangeRecord {
  request: RequestHead | undefined;
  requestId = '';
  route: HttpRoute | undefined;
  status = 0;
  code: ErrorCode | undefined;
  ms = 0;
  firstByteMs: number | undefined;
  bytesIn = 0;
  bytesOut = 0;
  #startedAtMs = 0;
  #running = false;

  /** False before the first and between two exchanges. */
  get running(): boolean {
    return this.#running;
  }

  /** A request was read; `undefined` when it cannot be understood. Forgets the one before. */
  begin(request: RequestHead | undefined, requestId: string): void {
    this.request = request;
    this.requestId = requestId;
    this.route = undefined;
    this.status = 0;
    this.code = undefined;
    this.ms = 0;
    this.firstByteMs = undefined;
    this.bytesIn = 0;
    this.bytesOut = 0;
    this.#startedAtMs = performance.now();
    this.#running = true;
  }

  /** The final response, or the switch of protocols, begins. */
  respond(status: number): void {
    this.status = status;
    this.firstByteMs = performance.now() - this.#startedAtMs;
  }

  /** It is over, with the code of its failure or without one. False when it was over before, or never began. */
  end(code: ErrorCode | undefined): boolean {
    if (!this.#running) return false;
    this.#running = false;
    this.code = code;
    this.ms = performance.now() - this.#startedAtMs;
    return true;
  }
}
