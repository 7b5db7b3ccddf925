/**
 * Edge: the public TLS port. It looks at each ClientHello before any TLS work and decides:
 *
 *   the relay's own name    TLS ends here; links and the relay's own pages (own-site.ts)
 *   a known hostname        TLS ends here; HTTP goes to its tunnel (shared/http)
 *   … whose TLS is home's   every byte goes to its tunnel as it came, the hello first; nothing of it is read here
 *   ALPN `acme-tls/1`       a CA looks for the answer to a challenge (challenge-handshakes.ts), unless TLS is home's
 *   anything else           the alert `unrecognized_name`; no certificate is shown to a scanner
 *
 * Where TLS ends was decided by the claim (sessions/protected-hosts.ts); here it is only obeyed, at three places: before
 * TLS begins, when OpenSSL asks for a certificate (should it read another name in the hello than we did), and for each
 * request (visitor-site.ts).
 *
 * Where TLS ends here, a TLS worker may make the handshake in our place (relay-server/workers); what comes after is the same.
 *
 * Owns: the listening socket and the HTTP connections. Owned by: Relay.
 */
import { createServer, type Server, type Socket } from 'node:net';
import {
  createServer as createTlsServer,
  type SecureContext,
  type TLSSocket,
  type Server as TlsServer,
} from 'node:tls';
import type { Address } from '../../shared/address.js';
import { type CertificateSource, tlsServerOptions } from '../../shared/certs/certificates.js';
import { ACME_ALPN } from '../../shared/certs/tls-alpn-solver.js';
import type { Deadlines } from '../../shared/deadlines.js';
import { asTunnelError, type ErrorCode, TunnelError } from '../../shared/errors.js';
import { hostnameOf } from '../../shared/hostname.js';
import { type ExchangeRecord, HSTS_FIELD, type HttpLimits, type SiteConnection } from '../../shared/http/http-site.js';
import { offeredProtocols, serveVisitor } from '../../shared/http2/serve-visitor.js';
import type { Log } from '../../shared/log.js';
import { isOpeningText } from '../../shared/opening.js';
import type { Traces } from '../ops/traces.js';
import type { Routes } from '../sessions/routes.js';
import type { Tunnel } from '../sessions/tunnel.js';
import type { Handshake } from '../workers/handed-over.js';
import { carryVisit, type OnCarried } from './carry-visit.js';
import { ChallengeHandshakes } from './challenge-handshakes.js';
import {
  ALERT_DECODE_ERROR,
  ALERT_INTERNAL_ERROR,
  ALERT_UNRECOGNIZED_NAME,
  type ClientHello,
  readClientHello,
} from './client-hello.js';
import { readFirstBytes } from './first-bytes.js';
import { closeServer, descriptorOf, listenOn } from './listen.js';
import { socketKey } from './socket-key.js';
import { type SiteHost, VisitorSite, type VisitorTls } from './visitor-site.js';
import type { Visitor, Visitors } from './visitors.js';

export interface EdgeOptions {
  readonly domain: string;
  readonly routes: Routes;
  readonly certificates: CertificateSource;
  /** Whether TLS of this hostname must not end here, as the state folder has it: another relay may share that. */
  readonly isProtected: (hostname: string) => boolean;
  /** The certificate that answers a CA's TLS-ALPN-01 challenge for this name; undefined while none runs. */
  readonly challengeContextFor: (serverName: string) => SecureContext | undefined;
  readonly visitors: Visitors;
  readonly deadlines: Deadlines;
  readonly traces: Traces;
  readonly limits: HttpLimits & {
    readonly clientHelloMs: number;
    readonly tlsHandshakeMs: number;
    readonly tcpIdleMs: number;
  };
  /** Whether visitors are offered HTTP/2. */
  readonly http2: boolean;
  /** Whether responses carry Strict-Transport-Security. */
  readonly hsts: boolean;
  readonly log: Log;
  /** Gives a visitor's handshake to a TLS worker; false when there is none, and then it is made here. */
  readonly handOver: (socket: Socket, handshake: Handshake) => boolean;
  /** A connection to the relay's own name, after its TLS handshake; with what that derived for links if it was elsewhere. */
  readonly onOwnSite: (socket: Socket, visitor: Visitor, exporter?: Buffer) => void;
  readonly refused: (code: ErrorCode) => void;
  /** An HTTP exchange ended; `tunnel` is undefined when it led to none. What is to be kept of `record` must be copied. */
  readonly exchanged: (record: ExchangeRecord, visitor: Visitor, tunnel: Tunnel | undefined) => void;
  /** A connection whose TLS ends elsewhere ended. */
  readonly carried: OnCarried;
}

/** What is known of a connection before TLS; the TLS socket itself has no way back to it. */
interface Arrival {
  readonly visitor: Visitor;
  /** From the ClientHello: of a resumed TLS 1.2 session Node's own `servername` knows nothing. */
  readonly serverName: string;
}

export class Edge implements SiteHost {
  readonly limits: HttpLimits;
  readonly deadlines: Deadlines;
  responseFields = '';
  readonly routes: Routes;
  readonly visitors: Visitors;
  readonly traces: Traces;
  draining = false;
  /** TLS handshakes since the start. */
  readonly handshakes = { done: 0, failed: 0 };
  readonly #options: EdgeOptions;
  #http2: boolean;
  #server: Server | undefined;
  readonly #tls: TlsServer;
  readonly #challenges: ChallengeHandshakes;
  readonly #connections = new Set<SiteConnection>();
  /** Connections before their TLS handshake. */
  #arriving = 0;
  /** Connections in their TLS handshake, by the addresses and ports of their sockets. */
  readonly #arrivals = new Map<string, Arrival>();

  constructor(options: EdgeOptions) {
    this.#options = options;
    this.limits = options.limits;
    this.deadlines = options.deadlines;
    this.routes = options.routes;
    this.traces = options.traces;
    this.visitors = options.visitors;
    this.demandHttps(options.hsts);
    this.#http2 = options.http2;
    this.#tls = createTlsServer(
      {
        ...tlsServerOptions,
        ALPNCallback: ({ servername, protocols: asked }) =>
          this.#protocolsFor(servername).find((protocol) => asked.includes(protocol)),
        handshakeTimeout: options.limits.tlsHandshakeMs,
        SNICallback: (serverName, done) => done(null, this.#contextFor(serverName)),
      },
      this.#onSecure,
    );
    this.#tls.on('tlsClientError', this.#onTlsError);
    this.#challenges = new ChallengeHandshakes({
      handshakeMs: options.limits.tlsHandshakeMs,
      contextFor: (serverName) => this.#challengeContextFor(serverName),
    });
  }

  /**
   * Starts accepting; where it accepted before, it does no more. Rejects with CONFIG_INVALID when the address cannot be
   * had, and then nothing has changed. Returns the address it listens on.
   */
  async listen(address: Address, given?: number): Promise<Address> {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, this.#onSocket);
    const bound = await listenOn(server, address, 'listen.https', given);
    this.#server?.close();
    this.#server = server;
    return bound;
  }

  /** The descriptor of the listening socket, for a successor. */
  get descriptor(): number | undefined {
    return this.#server && descriptorOf(this.#server);
  }

  /** Whether responses of new connections carry Strict-Transport-Security. */
  demandHttps(hsts: boolean): void {
    this.responseFields = hsts ? HSTS_FIELD : '';
  }

  /** Whether new visitors are offered HTTP/2. */
  offerHttp2(http2: boolean): void {
    this.#http2 = http2;
  }

  /** Stops accepting; idle connections end, the others after their current exchange. */
  drain(): void {
    this.draining = true;
    this.#server?.close();
    for (const connection of this.#connections) connection.drain();
  }

  /** Visitors who are still on their way to an answer, or get one. */
  get busyCount(): number {
    return this.#arriving + this.#arrivals.size + this.#connections.size;
  }

  /** Stops accepting and ends every HTTP connection. Safe any number of times. */
  async close(): Promise<void> {
    const closed = this.#server && closeServer(this.#server);
    for (const connection of this.#connections) connection.destroy();
    await closed;
  }

  refused(code: ErrorCode): void {
    this.#options.refused(code);
  }

  exchanged(record: ExchangeRecord, visitor: Visitor, tunnel: Tunnel | undefined): void {
    this.#options.exchanged(record, visitor, tunnel);
  }

  closed(connection: SiteConnection): void {
    this.#connections.delete(connection);
  }

  readonly #onSocket = (socket: Socket): void => {
    this.#arriving += 1;
    this.#arrive(socket)
      .catch((error: unknown) => this.#turnAway(socket, asTunnelError(error)))
      .finally(() => {
        this.#arriving -= 1;
      });
  };

  async #arrive(socket: Socket): Promise<void> {
    const visitor = await this.visitors.admit(socket);
    const hello = await readFirstBytes(socket, {
      deadlines: this.deadlines,
      timeoutMs: this.#options.limits.clientHelloMs,
      parse: (bytes) => {
        const read = readClientHello(bytes);
        return read.kind === 'more' ? undefined : { value: read, usedBytes: 0 };
      },
    });
    const { serverName } = hello;
    const passed = this.#passed(serverName);
    if (passed !== undefined) {
      await this.#pass(socket, visitor, hello, passed);
      return;
    }
    if (serverName !== undefined && hello.alpn.includes(ACME_ALPN)) {
      this.#answerChallenge(socket, serverName);
      return;
    }
    const context = serverName === undefined ? undefined : this.#contextOfKnown(serverName);
    if (serverName === undefined || context === undefined) {
      throw new TunnelError('ROUTE_NOT_FOUND', `Cannot serve ${serverName ?? 'a visitor without SNI'}: unknown name`);
    }
    if (this.#options.handOver(socket, this.#handshakeOf({ visitor, serverName }, context))) return;
    this.#remember(socket, { visitor, serverName });
    // The TLS socket inherits this: a visitor who leaves during the handshake is gone at once, not when its time is up.
    socket.allowHalfOpen = false;
    this.#tls.emit('connection', socket);
  }

  #answerChallenge(socket: Socket, serverName: string): void {
    if (this.#challengeContextFor(serverName) === undefined) {
      throw new TunnelError('ROUTE_NOT_FOUND', `Cannot answer a challenge for ${serverName}: none runs`);
    }
    this.#challenges.accept(socket);
  }

  #challengeContextFor(serverName: string): SecureContext | undefined {
    const name = hostnameOf(serverName);
    if (name === undefined || this.#passed(name) !== undefined) return undefined;
    return this.#options.challengeContextFor(name);
  }

  #contextOfKnown(serverName: string): SecureContext | undefined {
    const known = serverName === this.#options.domain || this.routes.find(serverName) !== undefined;
    return known ? this.#contextFor(serverName) : undefined;
  }

  /** What a worker needs to make a handshake in our place, and what is done after it. */
  #handshakeOf(arrival: Arrival, context: SecureContext): Handshake {
    return {
      context,
      protocols: this.#protocolsFor(arrival.serverName),
      wantsExporter: arrival.serverName === this.#options.domain,
      onSecure: (socket, { version, alpn, exporter }) => {
        this.#serve(socket, arrival, { version, alpn }, exporter);
        socket.resume();
      },
      onFailed: (reason) => this.#noteFailed(reason),
    };
  }

  /** The tunnel whose visitors' TLS does not end here. */
  #passed(serverName: string | undefined): Tunnel | undefined {
    if (serverName === undefined || serverName === this.#options.domain) return undefined;
    const tunnel = this.routes.find(serverName);
    return tunnel?.tls === 'relay' ? undefined : tunnel;
  }

  #pass(socket: Socket, visitor: Visitor, hello: ClientHello, tunnel: Tunnel): Promise<void> {
    const { limits, carried, refused } = this.#options;
    const alpn = hello.alpn.find(isOpeningText) ?? '';
    return carryVisit(socket, visitor, tunnel, {
      kind: 'tls',
      deadlines: this.deadlines,
      idleMs: limits.tcpIdleMs,
      said: { authority: hello.serverName ?? '', alpn, tlsEnds: tunnel.tls },
      carried,
      refused,
    });
  }

  #contextFor(serverName: string): SecureContext | undefined {
    const name = hostnameOf(serverName);
    if (name === undefined || this.#passed(name) !== undefined) return undefined;
    const { domain, isProtected, certificates } = this.#options;
    return name !== domain && isProtected(name) ? undefined : certificates.contextFor(name);
  }

  /** The relay's own pages and links are HTTP/1.1. */
  #protocolsFor(serverName: string): readonly string[] {
    return offeredProtocols(this.#http2 && serverName.toLowerCase() !== this.#options.domain);
  }

  #turnAway(socket: Socket, error: TunnelError): void {
    this.#options.refused(error.code);
    this.#options.log.debug(
      { visitor: socket.remoteAddress ?? '', code: error.code, reason: error.message },
      'visitor refused',
    );
    const alert = ALERTS.get(error.code);
    if (alert === undefined) socket.destroy();
    else socket.end(alert, () => socket.destroy());
  }

  readonly #onTlsError = (error: Error, socket: TLSSocket): void => {
    // After a handshake that took too long Node leaves this to us.
    socket.destroy();
    this.#noteFailed(error.message);
  };

  #noteFailed(reason: string): void {
    this.handshakes.failed += 1;
    this.#options.refused('REQUEST_INVALID');
    this.#options.log.debug({ reason }, 'TLS handshake failed');
  }

  readonly #onSecure = (socket: TLSSocket): void => {
    const key = socketKey(socket);
    const arrival = this.#arrivals.get(key);
    this.#arrivals.delete(key);
    socket.setNoDelay(true);
    const tls = { version: socket.getProtocol() ?? '', alpn: socket.alpnProtocol || '' };
    if (arrival !== undefined) this.#serve(socket, arrival, tls);
    else {
      this.handshakes.done += 1;
      socket.destroy(); // The visitor has gone in the meantime.
    }
  };

  /** The handshake is done. */
  #serve(
    socket: Socket,
    { visitor, serverName }: Arrival,
    { version, alpn }: Pick<VisitorTls, 'version' | 'alpn'>,
    exporter?: Buffer,
  ): void {
    this.handshakes.done += 1;
    if (serverName === this.#options.domain) {
      this.#options.onOwnSite(socket, visitor, exporter);
      return;
    }
    const site = new VisitorSite(this, visitor, { serverName, version, alpn: alpn || 'http/1.1' });
    this.#connections.add(serveVisitor(socket, alpn, site));
  }

  #remember(socket: Socket, arrival: Arrival): void {
    const key = socketKey(socket);
    this.#arrivals.set(key, arrival);
    socket.once('close', () => this.#arrivals.delete(key));
  }
}

/** The last word to a visitor before TLS; other failures end the connection without one. */
const ALERTS: ReadonlyMap<ErrorCode, Buffer> = new Map([
  ['ROUTE_NOT_FOUND', ALERT_UNRECOGNIZED_NAME],
  ['REQUEST_INVALID', ALERT_DECODE_ERROR],
  // Where TLS ends at home no page is possible while home is away.
  ['TUNNEL_OFFLINE', ALERT_INTERNAL_ERROR],
  ['LINK_LOST', ALERT_INTERNAL_ERROR],
  ['HOST_MISDIRECTED', ALERT_INTERNAL_ERROR],
]);
