/**
 * HomeSite: what the HTTP connection of one visitor sees of a client that ends TLS itself: which requests belong to the
 * tunnel, where they go, and what the origin is told about the visitor. The client's counterpart of the relay's
 * VisitorSite. The visitor's address comes from the Opening: the relay's word is all there is, and the limit of its power.
 */
import type { ByteStream } from '../../shared/bytes/byte-stream.js';
import { SocketStream } from '../../shared/bytes/socket-stream.js';
import type { Deadlines } from '../../shared/deadlines.js';
import { type ErrorCode, TunnelError } from '../../shared/errors.js';
import { hostnameMatches } from '../../shared/hostname.js';
import { forwardedHost, forwardedNode } from '../../shared/http/forwarded-fields.js';
import {
  type ExchangeRecord,
  HSTS_FIELD,
  type HttpLimits,
  type HttpRoute,
  type HttpSite,
  type SiteConnection,
} from '../../shared/http/http-site.js';
import type { ForwardedFields, RequestHead } from '../../shared/http/request-head.js';
import type { Log } from '../../shared/log.js';
import { type Opening, originProxyHeader, readOpening, writeOpening } from '../../shared/opening.js';
import { newRequestId } from '../../shared/request-id.js';
import type { ClientTunnel } from '../client-tunnel.js';
import { dialOrigin } from '../origin/dial-origin.js';

/** What all visitors of a client have in common. */
export interface HomeSiteHost {
  readonly deadlines: Deadlines;
  readonly draining: boolean;
  readonly dialMs: number;
  readonly log: Log;
  /** Counts a request of many on one connection; false when there are too many. */
  takeRequest(): boolean;
  giveBackRequest(): void;
  /** An exchange of the tunnel's ended. What is to be kept of `record` must be copied. */
  exchanged(record: ExchangeRecord, visitorAddress: string, tunnel: ClientTunnel): void;
  closed(connection: SiteConnection): void;
}

const SECOND = 1_000;
/** Those of the relay by default: a visitor must not be able to tell who ends the TLS. */
const LIMITS: HttpLimits = {
  headBytes: 16 * 1024,
  fields: 100,
  headMs: 10 * SECOND,
  keepAliveMs: 60 * SECOND,
  bodyIdleMs: 60 * SECOND,
  upgradedIdleMs: 3_600 * SECOND,
  http2Streams: 100,
};

export class HomeSite implements HttpSite {
  readonly limits = LIMITS;
  readonly deadlines: Deadlines;
  readonly responseFields: string;
  readonly #host: HomeSiteHost;
  readonly #tunnel: ClientTunnel;
  readonly #visitorAddress: string;
  readonly #route: HomeRoute;

  /** `tls` is what the visitor and this client agreed on, as Node names it. */
  constructor(
    host: HomeSiteHost,
    tunnel: ClientTunnel,
    opening: Opening,
    tls: { readonly version: string; readonly alpn: string },
  ) {
    this.#host = host;
    this.deadlines = host.deadlines;
    this.#tunnel = tunnel;
    this.responseFields = tunnel.spec.hsts ? HSTS_FIELD : '';
    this.#visitorAddress = opening.visitorAddress;
    this.#route = new HomeRoute(host, tunnel, { ...opening, alpn: tls.alpn, tlsVersion: tls.version });
  }

  get draining(): boolean {
    return this.#host.draining;
  }

  route(head: RequestHead): HttpRoute {
    if (hostnameMatches(this.#tunnel.spec.host ?? '', head.hostname)) return this.#route;
    throw new TunnelError('HOST_MISDIRECTED', 'The connection was made for another hostname');
  }

  forwarded(head: RequestHead, requestId: string): ForwardedFields {
    const address = this.#visitorAddress;
    const forwarded = `for=${forwardedNode(address)};proto=https;host=${forwardedHost(head.authority)}`;
    return { forwardedFor: address, realIp: address, proto: 'https', forwarded, requestId };
  }

  requestId(): string {
    return newRequestId();
  }

  takeRequest(): boolean {
    return this.#host.takeRequest();
  }

  giveBackRequest(): void {
    this.#host.giveBackRequest();
  }

  refused(code: ErrorCode): void {
    this.#host.log.debug({ tunnel: this.#tunnel.spec.name, code }, 'visitor refused');
  }

  exchanged(record: ExchangeRecord): void {
    this.#host.exchanged(record, this.#visitorAddress, this.#tunnel);
  }

  closed(connection: SiteConnection): void {
    this.#host.closed(connection);
  }
}

/** The way of one visitor's requests to the origin: one connection of its own. */
class HomeRoute implements HttpRoute {
  readonly #host: HomeSiteHost;
  readonly #tunnel: ClientTunnel;
  readonly #visit: Opening;

  constructor(host: HomeSiteHost, tunnel: ClientTunnel, visit: Opening) {
    this.#host = host;
    this.#tunnel = tunnel;
    this.#visit = visit;
  }

  get hostHeader(): string | undefined {
    return this.#tunnel.spec.hostHeader;
  }

  get responseTimeoutMs(): number | undefined {
    return this.#tunnel.spec.responseTimeoutMs;
  }

  open(head: RequestHead): Promise<ByteStream> {
    return new Promise((resolve, reject) => {
      dialOrigin({
        target: this.#tunnel.spec.origin,
        timeoutMs: this.#host.dialMs,
        preamble: this.#proxyHeader(),
        serverName: head.hostname,
        onOpen: (socket) => resolve(new SocketStream(socket, this.#tunnel.traffic)),
        onFail: (error) => reject(this.#dialFailed(error)),
      });
    });
  }

  countRequest(): void {}

  /** As the relay would have written it, had TLS ended there. */
  #proxyHeader(): Buffer | undefined {
    const { proxyProtocol } = this.#tunnel.spec;
    if (proxyProtocol === undefined) return undefined;
    const read = readOpening(writeOpening(this.#visit));
    return read.kind === 'more' ? undefined : originProxyHeader(read.header, proxyProtocol);
  }

  #dialFailed(error: TunnelError): TunnelError {
    this.#tunnel.fail(error.code, error.message);
    const { name } = this.#tunnel.spec;
    this.#host.log.warn({ tunnel: name, code: error.code, reason: error.message }, 'origin unreachable');
    return error;
  }
}
