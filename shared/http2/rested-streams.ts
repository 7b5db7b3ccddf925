/**
 * RestedStreams: streams to an origin whose exchange is done and which may carry another one of the same visitor's
 * connection, as an HTTP/1.1 connection would: without them each request would cost a dial at home. They never go to
 * another visitor.
 *
 * Owns: the streams while they rest. Owned by: Http2Connection.
 */
import type { ByteStream, ByteStreamHandler } from '../bytes/byte-stream.js';
import type { HttpRoute } from '../http/http-site.js';

/** A browser rarely has more requests at a time. */
const MAX_RESTED = 32;
/** Below the five seconds after which Node's HTTP server, and few others, hang up: who is first loses no request. */
const REST_MS = 4_000;

export class RestedStreams {
  /** The one that rested least is last. */
  #streams: RestedStream[] = [];

  /** A stream of this route; its new owner sets the handler. */
  take(route: HttpRoute): ByteStream | undefined {
    for (let at = this.#streams.length - 1; at >= 0; at -= 1) {
      const rested = this.#streams[at];
      if (rested?.route !== route) continue;
      this.#streams.splice(at, 1);
      return rested.stream;
    }
    return undefined;
  }

  /** Takes a stream on which all was said. Beyond the limit it ends. */
  rest(stream: ByteStream, route: HttpRoute, nowMs: number): void {
    const rested = new RestedStream(stream, route, nowMs + REST_MS, this.#forget);
    if (this.#streams.length < MAX_RESTED) this.#streams.push(rested);
    else rested.end();
  }

  /** Lets a stream that will carry nothing more end in peace. */
  end(stream: ByteStream, route: HttpRoute): void {
    new RestedStream(stream, route, 0, this.#forget).end();
  }

  onTick(nowMs: number): void {
    while (this.#streams[0] !== undefined && nowMs >= this.#streams[0].untilMs) this.#streams.shift()?.end();
  }

  /** Ends all that rest. */
  close(): void {
    const streams = this.#streams;
    this.#streams = [];
    for (const rested of streams) rested.end();
  }

  readonly #forget = (rested: RestedStream): void => {
    const at = this.#streams.indexOf(rested);
    if (at >= 0) this.#streams.splice(at, 1);
  };
}

class RestedStream implements ByteStreamHandler {
  readonly stream: ByteStream;
  readonly route: HttpRoute;
  readonly untilMs: number;
  readonly #forget: (rested: RestedStream) => void;

  constructor(stream: ByteStream, route: HttpRoute, untilMs: number, forget: (rested: RestedStream) => void) {
    this.stream = stream;
    this.route = route;
    this.untilMs = untilMs;
    this.#forget = forget;
    stream.handler = this;
    stream.resume();
  }

  /** Waits for the origin's end. */
  end(): void {
    this.stream.end();
  }

  /** Nobody asked: an origin that speaks first would answer the next request with it. */
  onData(): void {
    this.#forget(this);
    this.stream.reset();
  }

  onEnd(): void {
    this.#forget(this);
    this.end();
  }

  onRetire(): void {
    this.#forget(this);
    this.end();
  }

  onDrain(): void {}

  onClose(): void {
    this.#forget(this);
  }
}
