/**
 * HttpSite: what an HTTP connection needs of whoever accepted it: limits, where requests go, what origins are told.
 * The relay has one for its visitors; a client that terminates TLS itself can have another.
 */
import type { ByteStream } from '../bytes/byte-stream.js';
import type { Deadlines } from '../deadlines.js';
import type { ErrorCode } from '../errors.js';
import type { HeadLimits } from './head-buffer.js';
import type { ForwardedFields, RequestHead } from './request-head.js';

/** Strict-Transport-Security (RFC 6797) for a year, as a response field. */
export const HSTS_FIELD = 'Strict-Transport-Security: max-age=31536000\r\n';

export interface HttpLimits extends HeadLimits {
  /** From a head's first byte to its last. */
  readonly headMs: number;
  /** Between two exchanges. */
  readonly keepAliveMs: number;
  /** A body without progress while its sender or reader is the visitor. */
  readonly bodyIdleMs: number;
  /** An upgraded connection without a byte. */
  readonly upgradedIdleMs: number;
  /** Requests at a time on one HTTP/2 connection. */
  readonly http2Streams: number;
}

/**
 * How long a connection that drains may still bring a request when it carries none: one may be on its way, and the visitor
 * has yet to hear that there is an end.
 */
export const DRAIN_IDLE_MS = 1_000;

/** A visitor's connection as whoever accepted it sees it, whatever version of HTTP it speaks. */
export interface SiteConnection {
  /** Ends it after its current exchanges, at once when none runs. */
  drain(): void;
  /** Ends it now. Safe in any state. */
  destroy(): void;
}

/** Where a request goes. */
export interface HttpRoute {
  /** Host for the origin instead of the public one. */
  readonly hostHeader: string | undefined;
  /** How long the origin may take to begin its response; undefined: as long as it likes. */
  readonly responseTimeoutMs: number | undefined;
  /** A stream to the origin; its handler learns of a failed dial by `onClose`. Throws or rejects with TunnelError. */
  open(head: RequestHead, requestId: string): ByteStream | Promise<ByteStream>;
  /** An exchange begins. */
  countRequest(): void;
}

/**
 * What is known of an exchange that ended. Its maker may use it again for the next one: whoever wants to keep something
 * copies it.
 */
export interface ExchangeRecord {
  /** As the visitor sent it; undefined when it could not be understood. */
  readonly request: RequestHead | undefined;
  readonly requestId: string;
  /** Where it went; undefined when no route was found. */
  readonly route: HttpRoute | undefined;
  /** Of the response as the visitor got it, 101 for an upgraded connection; 0 when none began. */
  readonly status: number;
  /** Why it failed: STREAM_RESET when the visitor left before its end; undefined when it did not. */
  readonly code: ErrorCode | undefined;
  /** From the request's whole head to the response's last byte; of an upgraded connection, to its end. */
  readonly ms: number;
  /** From the request's whole head to the response's; undefined when none began. */
  readonly firstByteMs: number | undefined;
  /** Of the request's body, with the framing of chunks; of an upgraded connection, all that the visitor sent. */
  readonly bytesIn: number;
  /** Of the response's body, or all that the visitor was sent. */
  readonly bytesOut: number;
}

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
  /**
   * A connection is about to carry several requests at a time, and this is one of them. False when its visitor has too
   * many of them already, on whatever connections; else each is given back when it is over.
   */
  takeRequest(): boolean;
  giveBackRequest(): void;
  /** A request ended in an error of the table; `head` is undefined where it could not be read. */
  refused(code: ErrorCode, head?: RequestHead): void;
  /** An exchange ended, well or not. Called once for each, also for requests that could not be read; must be cheap. */
  exchanged(record: ExchangeRecord): void;
  /** The connection is over; called once. */
  closed(connection: SiteConnection): void;
}
