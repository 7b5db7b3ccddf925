/**
 * VisitorSite: what the HTTP connection of one visitor sees of the relay: which tunnel a request goes to, and what the
 * origin is told about the visitor.
 *
 * The hostname in the TLS handshake decided which certificate was shown; a request for another tunnel on the same
 * connection is misdirected (RFC 9110 §15.5.20), whatever its Host says.
 */
import type { ByteStream } from '../../shared/bytes/byte-stream.js';
import type { Deadlines } from '../../shared/deadlines.js';
import { type ErrorCode, TunnelError } from '../../shared/errors.js';
import { forwardedHost, forwardedNode } from '../../shared/http/forwarded-fields.js';
import type { ExchangeRecord, HttpLimits, HttpRoute, HttpSite, SiteConnection } from '../../shared/http/http-site.js';
import type { ForwardedFields, RequestHead } from '../../shared/http/request-head.js';
import { plainAddress } from '../../shared/ip-address.js';
import { newRequestId } from '../../shared/request-id.js';
import type { Trace, Traces } from '../ops/traces.js';
import type { Routes } from '../sessions/routes.js';
import type { Tunnel, Visit } from '../sessions/tunnel.js';
import type { Visitor, Visitors } from './visitors.js';

/** What all connections of an edge have in common. */
export interface SiteHost {
  readonly limits: HttpLimits;
  readonly deadlines: Deadlines;
  readonly responseFields: string;
  readonly draining: boolean;
  readonly routes: Routes;
  readonly visitors: Visitors;
  /** Who follows requests. */
  readonly traces: Traces;
  refused(code: ErrorCode): void;
  /** An exchange of `visitor` ended; `tunnel` is where it went, undefined when there was no such place. */
  exchanged(record: ExchangeRecord, visitor: Visitor, tunnel: Tunnel | undefined): void;
  closed(connection: SiteConnection): void;
}

/** What the TLS handshake decided. */
export interface VisitorTls {
  readonly serverName: string;
  /** As Node names it. */
  readonly version: string;
  /** The protocol agreed on. */
  readonly alpn: string;
}

/** A proxy's request id is kept when it is one; anything else could forge log lines. */
const REQUEST_ID = /^[\w.:-]{1,128}$/;

export class VisitorSite implements HttpSite {
  readonly limits: HttpLimits;
  readonly deadlines: Deadlines;
  readonly responseFields: string;
  readonly #host: SiteHost;
  readonly #visitor: Visitor;
  readonly #tls: VisitorTls;
  readonly #forwardedFor: string;
  #route: VisitorRoute | undefined;
  /** The newest request that somebody follows. */
  #followed: { readonly head: RequestHead; readonly trace: Trace } | undefined;

  constructor(host: SiteHost, visitor: Visitor, tls: VisitorTls) {
    this.#host = host;
    this.limits = host.limits;
    this.deadlines = host.deadlines;
    this.responseFields = host.responseFields;
    this.#visitor = visitor;
    this.#tls = tls;
    this.#forwardedFor = `for=${forwardedNode(visitor.address)};proto=https;host=`;
  }

  get draining(): boolean {
    return this.#host.draining;
  }

  route(head: RequestHead): HttpRoute {
    if (head.hostname === '') this.#nameByTls(head);
    const trace = this.#host.traces.begin(head.trace, head.hostname);
    if (trace !== undefined) this.#followed = { head, trace };
    const route = this.#find(head, trace);
    trace?.pass('policy', 'allowed');
    route.trace = trace;
    return route;
  }

  #find(head: RequestHead, trace: Trace | undefined): VisitorRoute {
    const tunnel = this.#host.routes.find(head.hostname);
    if (tunnel !== undefined) trace?.pass('route', `${head.hostname} leads to ${tunnel.address}`);
    if (tunnel !== undefined && tunnel.tls !== 'relay') {
      throw new TunnelError('HOST_MISDIRECTED', 'TLS of this hostname does not end at the relay');
    }
    if (tunnel !== undefined && this.#route?.tunnel === tunnel) return this.#route;
    const served = this.#host.routes.find(this.#tls.serverName);
    if (tunnel === undefined || tunnel !== served) {
      throw new TunnelError('HOST_MISDIRECTED', 'The connection was made for another hostname');
    }
    this.#route = new VisitorRoute(tunnel, this.#visitor, this.#tls);
    return this.#route;
  }

  /** HTTP/1.0 need not say which host it means; the TLS handshake did. */
  #nameByTls(head: RequestHead): void {
    head.hostname = this.#tls.serverName;
    head.authority = this.#tls.serverName;
  }

  forwarded(head: RequestHead, requestId: string): ForwardedFields {
    const { address, viaProxy } = this.#visitor;
    if (viaProxy && head.forwardedFor !== '') return this.#forwardedByProxy(head, requestId);
    const forwarded = this.#forwardedFor + forwardedHost(head.authority);
    return { forwardedFor: address, realIp: address, proto: 'https', forwarded, requestId };
  }

  /** What a proxy of ours says of its visitor goes on, with the proxy's own address behind it. */
  #forwardedByProxy(head: RequestHead, requestId: string): ForwardedFields {
    const forwardedFor = `${head.forwardedFor}, ${this.#visitor.address}`;
    const proto = head.forwardedProto.toLowerCase() === 'http' ? 'http' : 'https';
    const [first, ...others] = forwardedFor.split(',').map(forwardedElement);
    const visitor = `${first};proto=${proto};host=${forwardedHost(head.authority)}`;
    const forwarded = [visitor, ...others].join(', ');
    return { forwardedFor, realIp: this.#realVisitor(head.forwardedFor), proto, forwarded, requestId };
  }

  requestId(head: RequestHead | undefined): string {
    const given = head?.requestId ?? '';
    return this.#visitor.viaProxy && REQUEST_ID.test(given) ? given : newRequestId();
  }

  takeRequest(): boolean {
    return this.#host.visitors.takeRequest(this.#visitor);
  }

  giveBackRequest(): void {
    this.#host.visitors.giveBackRequest(this.#visitor);
  }

  refused(code: ErrorCode, head?: RequestHead): void {
    if (head !== undefined && head === this.#followed?.head) this.#followed.trace.finish(code, '');
    this.#host.refused(code);
  }

  exchanged(record: ExchangeRecord): void {
    const tunnel = record.route instanceof VisitorRoute ? record.route.tunnel : undefined;
    this.#host.exchanged(record, this.#visitor, tunnel);
  }

  closed(connection: SiteConnection): void {
    this.#route?.giveUp();
    this.#host.closed(connection);
  }

  /** The last address in the list that is not one of our proxies: everything before it, its sender may have made up. */
  #realVisitor(forwardedFor: string): string {
    const addresses = forwardedFor.split(',').map((text) => plainAddress(text.trim()));
    const real = addresses.findLast((address) => address !== undefined && !this.#host.visitors.isTrusted(address));
    return real ?? this.#visitor.address;
  }
}

/** The way of one visitor's requests to one tunnel. */
class VisitorRoute implements HttpRoute {
  readonly tunnel: Tunnel;
  /** Of the newest request, when that one is followed. */
  trace: Trace | undefined;
  readonly #visitor: Visitor;
  readonly #tls: VisitorTls;
  readonly #giveUps: (() => void)[] = [];

  constructor(tunnel: Tunnel, visitor: Visitor, tls: VisitorTls) {
    this.tunnel = tunnel;
    this.#visitor = visitor;
    this.#tls = tls;
  }

  get hostHeader(): string | undefined {
    return this.tunnel.claim?.hostHeader;
  }

  get responseTimeoutMs(): number | undefined {
    return this.tunnel.claim?.responseTimeoutMs;
  }

  open(head: RequestHead, requestId: string): ByteStream | Promise<ByteStream> {
    const { address, port, publicAddress, publicPort } = this.#visitor;
    const visit: Visit = {
      visitorAddress: address,
      visitorPort: port,
      publicAddress,
      publicPort,
      authority: head.authority,
      alpn: this.#tls.alpn,
      tlsVersion: this.#tls.version,
      tlsEnds: 'relay',
      id: requestId,
      trace: this.trace,
    };
    return this.tunnel.openStream(visit, (giveUp) => {
      this.#giveUps.push(giveUp);
    });
  }

  /** The visitor has left: its requests no longer wait for the tunnel's client. */
  giveUp(): void {
    for (const giveUp of this.#giveUps) giveUp();
  }

  countRequest(): void {
    this.tunnel.traffic.requests += 1;
  }
}

/** An item of X-Forwarded-For as element of Forwarded (RFC 7239 §7.4). */
function forwardedElement(text: string): string {
  return `for=${forwardedNode(plainAddress(text.trim()) ?? 'unknown')}`;
}
