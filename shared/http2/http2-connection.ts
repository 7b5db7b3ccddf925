/**
 * Http2Connection: one visitor's HTTP/2 connection (RFC 9113), from the end of its TLS handshake to its own. It decides
 * what such a connection may do and for how long; each request on it is an Http2Exchange.
 *
 *   open → draining → closed        draining: no new requests; a visitor learns it before the last one counts
 *
 * node:http2 reads and writes frames and keeps to the limits that it knows: `SESSION_OPTIONS`. Those it does not know are
 * kept here: too many cut requests, too much that belongs to no request (flood-guard.ts), silence.
 *
 * Owns: the socket, the HTTP/2 session, its exchanges and the streams that rest between them. Owned by: nobody but the
 * socket; `drain` and `destroy` end it from outside.
 */
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { ByteStream } from '../bytes/byte-stream.js';
import type { Watched } from '../deadlines.js';
import { TunnelError } from '../errors.js';
import type { FieldPairs } from '../http/field-lines.js';
import { DRAIN_IDLE_MS, type HttpRoute, type HttpSite, type SiteConnection } from '../http/http-site.js';
import { FloodGuard } from './flood-guard.js';
import { type ExchangeOwner, Http2Exchange } from './http2-exchange.js';
import { RestedStreams } from './rested-streams.js';

/** What node:http2 and nghttp2 enforce. Where a limit is broken they reset the stream, or end the connection. */
const SESSION_OPTIONS = {
  /** Frames that are wrong but harmless, such as DATA without bytes. */
  maxSessionInvalidFrames: 100,
  /** Requests beyond SETTINGS_MAX_CONCURRENT_STREAMS. */
  maxSessionRejectedStreams: 100,
  /** Entries of a SETTINGS frame. */
  maxSettings: 32,
  maxOutstandingSettings: 4,
  maxOutstandingPings: 4,
} as const;

/**
 * MiB that node:http2 may hold for one connection, beyond which it refuses new requests: for each request a piece of its
 * response that waits for the visitor (64 KiB and what node:stream adds), its head, its share of the tables.
 */
const MIB_PER_STREAM = 1 / 8;
/** How much of a request's body may be under way, and wait here while its origin does not read. */
const UPLOAD_WINDOW_BYTES = 256 * 1024;
/** Heads a little over their limit are read, so that their sender gets a page instead of a cut stream. */
const HEAD_ROOM = 2;

/** How long a visitor may take to read that its connection is over. */
const LINGER_MS = 2_000;

const END_STREAM = constants.NGHTTP2_FLAG_END_STREAM;
const LAST_STREAM_ID = 2 ** 31 - 1;

export class Http2Connection implements SiteConnection, ExchangeOwner, Watched {
  readonly site: HttpSite;
  readonly responseFields: FieldPairs;
  readonly #socket: Socket;
  readonly #session: ServerHttp2Session;
  readonly #exchanges = new Set<Http2Exchange>();
  readonly #rested = new RestedStreams();
  readonly #guard: FloodGuard;
  #state: 'open' | 'draining' | 'closed' = 'open';
  /** Ends a connection without an exchange. */
  #idleAtMs: number;
  /** Ends a connection whose session is over. */
  #endsAtMs = Number.POSITIVE_INFINITY;
  /** When the visitor was last heard, how much of it by then, and whether it was asked for a sign of life since. */
  #heardAtMs: number;
  #heardBytes = 0;
  #pinged = false;

  /** `socket` has agreed on `h2`, and nobody has read from it. */
  constructor(socket: Socket, site: HttpSite) {
    const { limits, deadlines } = site;
    this.site = site;
    this.responseFields = fieldPairs(site.responseFields);
    this.#socket = socket;
    this.#guard = new FloodGuard(limits.http2Streams, deadlines.nowMs);
    this.#idleAtMs = deadlines.nowMs + limits.headMs;
    this.#heardAtMs = deadlines.nowMs;
    socket.once('close', this.#onClose);
    this.#session = performServerHandshake(socket, {
      ...SESSION_OPTIONS,
      maxSessionMemory: Math.max(1, Math.ceil(limits.http2Streams * MIB_PER_STREAM)),
      maxHeaderListPairs: limits.fields * HEAD_ROOM,
      settings: {
        maxConcurrentStreams: limits.http2Streams,
        maxHeaderListSize: limits.headBytes * HEAD_ROOM,
        initialWindowSize: UPLOAD_WINDOW_BYTES,
        enableConnectProtocol: true,
      },
    });
    // Where no TLS server made the socket, node:http2 waits for this event, and nobody else emits it.
    socket.emit('secureConnect');
    this.#session.setLocalWindowSize(UPLOAD_WINDOW_BYTES * 4);
    // The socket's 'close' follows, and says all that matters.
    this.#session.on('error', ignore);
    this.#session.on('stream', this.#onStream);
    this.#session.once('remoteSettings', this.#onHello);
    deadlines.watch(this);
  }

  /** Exchanges that run. */
  get exchangeCount(): number {
    return this.#exchanges.size;
  }

  /** RFC 9113 §6.8: says first that it will end, and a round trip later which request was the last. */
  drain(): void {
    if (this.#state !== 'open') return;
    this.#state = 'draining';
    this.#idleAtMs = Math.min(this.#idleAtMs, this.site.deadlines.nowMs + DRAIN_IDLE_MS);
    this.#session.goaway(constants.NGHTTP2_NO_ERROR, LAST_STREAM_ID);
    this.#session.ping(() => this.#session.close());
  }

  destroy(): void {
    this.#session.destroy();
  }

  onTick(nowMs: number): void {
    if (this.#session.destroyed) {
      this.#linger(nowMs);
      return;
    }
    for (const exchange of this.#exchanges) exchange.onTick(nowMs);
    this.#rested.onTick(nowMs);
    const receivedBytes = this.#socket.bytesRead;
    let waitingBytes = 0;
    for (const exchange of this.#exchanges) waitingBytes += exchange.waitingBytes;
    if (!this.#guard.countReceived(receivedBytes - waitingBytes, nowMs))
      this.#breakOff('says too much besides its requests');
    else if (this.#exchanges.size === 0 && nowMs >= this.#idleAtMs) this.#session.destroy();
    else this.#askForLife(receivedBytes, nowMs);
  }

  readonly #onHello = (): void => {
    this.#idleAtMs = this.site.deadlines.nowMs + this.site.limits.keepAliveMs;
  };

  readonly #onStream = (visitor: ServerHttp2Stream, _fields: object, flags: number, raw: readonly string[]): void => {
    let bytes = 0;
    for (const text of raw) bytes += text.length;
    this.#guard.explainReceived(bytes);
    if (visitor.closed || visitor.destroyed) {
      // Cut in the same moment as it was asked.
      visitor.on('error', ignore);
      this.#countCut();
      return;
    }
    if (this.site.takeRequest()) {
      this.#exchanges.add(new Http2Exchange(visitor, raw, (flags & END_STREAM) !== 0, this));
      return;
    }
    this.site.refused('LIMIT_EXCEEDED');
    visitor.on('error', ignore);
    // Says that nothing of it was done: it may be asked again.
    visitor.close(constants.NGHTTP2_REFUSED_STREAM);
  };

  // ---- ExchangeOwner ----

  takeStream(route: HttpRoute): ByteStream | undefined {
    return this.#rested.take(route);
  }

  giveStream(stream: ByteStream, route: HttpRoute, reusable: boolean): void {
    if (reusable && stream.alive && this.#state === 'open') this.#rested.rest(stream, route, this.site.deadlines.nowMs);
    else this.#rested.end(stream, route);
  }

  onReceived(bytes: number): void {
    this.#guard.explainReceived(bytes);
  }

  onWritten(bytes: number): void {
    this.#guard.explainWritten(bytes);
  }

  onOver(exchange: Http2Exchange, cut: boolean): void {
    this.#exchanges.delete(exchange);
    this.site.giveBackRequest();
    this.#idleAtMs = this.site.deadlines.nowMs + this.site.limits.keepAliveMs;
    if (cut) this.#countCut();
  }

  // ---- ends ----

  #countCut(): void {
    if (!this.#guard.countCut(this.site.deadlines.nowMs)) this.#breakOff('cuts too many requests');
  }

  /** With requests under way and nothing heard for long: is anybody there? */
  #askForLife(receivedBytes: number, nowMs: number): void {
    const { keepAliveMs, headMs } = this.site.limits;
    if (receivedBytes !== this.#heardBytes) {
      this.#heardBytes = receivedBytes;
      this.#heardAtMs = nowMs;
      this.#pinged = false;
    } else if (nowMs >= this.#heardAtMs + keepAliveMs + headMs) {
      this.#session.destroy();
    } else if (!this.#pinged && nowMs >= this.#heardAtMs + keepAliveMs) {
      this.#pinged = true;
      this.#session.ping(ignore);
    }
  }

  /** The visitor broke a limit: it loses its connection, and nobody else notices. */
  #breakOff(why: string): void {
    if (this.#session.destroyed) return;
    this.site.refused('LIMIT_EXCEEDED');
    const error = new TunnelError('LIMIT_EXCEEDED', `Cannot keep connection: the visitor ${why}`);
    this.#session.destroy(error, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  /** The session waits until its last words were read. Who does not read them is not waited for. */
  #linger(nowMs: number): void {
    this.#endsAtMs = Math.min(this.#endsAtMs, nowMs + LINGER_MS);
    if (nowMs >= this.#endsAtMs) this.#socket.destroy();
  }

  readonly #onClose = (): void => {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.site.deadlines.unwatch(this);
    this.#rested.close();
    this.site.closed(this);
  };
}

/** Ready field lines of our own, each with its CR LF, as names and values. */
function fieldPairs(lines: string): FieldPairs {
  const pairs = lines.split('\r\n').filter((line) => line !== '');
  return {
    names: pairs.map((line) => line.slice(0, line.indexOf(':'))),
    values: pairs.map((line) => line.slice(line.indexOf(':') + 2)),
  };
}

function ignore(): void {}
