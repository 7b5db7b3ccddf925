/**
 * VisitorResponse: the way of a response to an HTTP/2 visitor. What one turn brings leaves together, so that a small
 * response is one HEADERS and one DATA frame; larger pieces pass uncopied. It decides whether trailers are waited for: of
 * a response that came whole it is known whether there are any.
 *
 * Owned by: Http2Exchange.
 */
import type { ServerHttp2Stream } from 'node:http2';
import type { FieldPairs } from '../http/field-lines.js';
import type { ResponseHead } from '../http/response-head.js';
import { interimFields, responseFields, trailerFields } from './outgoing-fields.js';

const NOTHING = Buffer.alloc(0);

/** Who is told how it goes on. */
export interface VisitorResponseOwner {
  /** Fields for each final response. */
  readonly responseFields: FieldPairs;
  /** A piece was written. */
  onWritten(bytes: number): void;
  /** After `flush` returned false: there is room again. */
  onVisitorDrain(): void;
  /** The last word was said. With trailers that is a turn after `flush`. */
  onResponseSaid(): void;
}

export class VisitorResponse {
  readonly #visitor: ServerHttp2Stream;
  readonly #owner: VisitorResponseOwner;
  #head: ResponseHead | undefined;
  #pieces: Buffer[] = [];
  #trailers: FieldPairs | undefined;
  #state: 'open' | 'ended' | 'said' = 'open';
  #waitsForTrailers = false;
  #full = false;

  constructor(visitor: ServerHttp2Stream, owner: VisitorResponseOwner) {
    this.#visitor = visitor;
    this.#owner = owner;
  }

  /** True once the visitor was told a status. */
  get begun(): boolean {
    return this.#visitor.headersSent;
  }

  /** True while the visitor takes no more. */
  get full(): boolean {
    return this.#full;
  }

  get ended(): boolean {
    return this.#state !== 'open';
  }

  /** A 1xx response; said at once. */
  interim(head: ResponseHead): void {
    if (!this.begun) this.#visitor.additionalHeaders(interimFields(head));
  }

  head(head: ResponseHead): void {
    this.#head = head;
  }

  piece(bytes: Buffer): void {
    this.#pieces.push(bytes);
  }

  end(trailers?: FieldPairs): void {
    this.#state = 'ended';
    this.#trailers = trailers;
  }

  /** Writes what it was given. False asks to wait for `onVisitorDrain`. */
  flush(): boolean {
    if (this.#state === 'said' || this.#visitor.closed) return true;
    if (this.#head !== undefined) this.#respond(this.#head);
    if (this.#pieces.length > 0 || this.ended) this.#write();
    if (this.ended) this.#finish();
    return !this.#full;
  }

  #respond(head: ResponseHead): void {
    this.#head = undefined;
    const isEmpty = this.ended && this.#pieces.length === 0 && this.#trailers === undefined;
    this.#waitsForTrailers = head.body.kind === 'chunked' && (!this.ended || this.#trailers !== undefined);
    if (this.#waitsForTrailers) this.#visitor.on('wantTrailers', () => this.#sendTrailers());
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
    if (this.ended) this.#endWith(bytes);
    else if (!this.#visitor.write(bytes)) this.#waitForDrain();
  }

  /** A response without a body has ended already: one more write, even of nothing, would be an error. */
  #endWith(bytes: Buffer): void {
    if (bytes.length > 0) this.#visitor.end(bytes);
    else this.#visitor.end();
  }

  #waitForDrain(): void {
    if (this.#full) return;
    this.#full = true;
    this.#visitor.once('drain', () => {
      this.#full = false;
      this.#owner.onVisitorDrain();
    });
  }

  #finish(): void {
    this.#state = 'said';
    if (!this.#waitsForTrailers) this.#owner.onResponseSaid();
  }

  #sendTrailers(): void {
    if (this.#visitor.closed) return;
    this.#visitor.sendTrailers(this.#trailers === undefined ? {} : trailerFields(this.#trailers));
    // node:http2 sends them in the next turn, and not at all on a stream that was closed before.
    setImmediate(() => this.#owner.onResponseSaid());
  }
}
