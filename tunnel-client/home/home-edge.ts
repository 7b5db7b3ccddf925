/**
 * HomeEdge: ends the visitors' TLS of tunnels with tls: end-to-end. The relay passes their bytes as they come; here they
 * become TLS connections, and those are served by the HTTP code that the relay uses for its own.
 *
 *   stream → TLS handshake → HTTP connection        a handshake that fails or takes too long ends the stream
 *                          → the end, for a CA that asks (`acme-tls/1`): its question is the handshake
 *
 * It serves a hostname only with a certificate that covers it, and only to visitors whose SNI is that hostname: a relay
 * that sends other visitors here gets nothing. TLS runs over a Duplex on the stream; docs/decisions.md says why not over a
 * local socket.
 *
 * Owns: the certificates, the TLS connections. Owned by: Client.
 */
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import { tlsServerOptions } from '../../shared/certs/certificates.js';
import { ACME_ALPN } from '../../shared/certs/tls-alpn-solver.js';
import type { Deadlines, Watched } from '../../shared/deadlines.js';
import { hostnameOf } from '../../shared/hostname.js';
import type { SiteConnection } from '../../shared/http/http-site.js';
import { offeredProtocols, serveVisitor } from '../../shared/http2/serve-visitor.js';
import type { Log } from '../../shared/log.js';
import type { MuxStream } from '../../shared/mux/stream.js';
import { asDuplex, type StreamDuplex } from '../../shared/mux/stream-duplex.js';
import type { Opening } from '../../shared/opening.js';
import type { ClientTunnel } from '../client-tunnel.js';
import type { HomeCertificate } from '../ops/client-status.js';
import { HomeCertificates, type HomeCertificatesOptions } from './home-certificates.js';
import { HomeSite, type HomeSiteHost } from './home-site.js';

/** From the relay's Opening to the end of the TLS handshake; the relay waits as long for its own. */
const HANDSHAKE_MS = 10_000;

/** Requests over HTTP/2 at a time, of all visitors: as many as a relay opens streams by default. */
const MAX_REQUESTS = 1_024;

export interface HomeEdgeOptions extends HomeCertificatesOptions {
  readonly deadlines: Deadlines;
  readonly dialMs: number;
  /** Whether visitors are offered HTTP/2. */
  readonly http2: boolean;
  readonly exchanged: HomeSiteHost['exchanged'];
  /** Where TLS handshakes are counted. */
  readonly handshakes: { done: number; failed: number };
}

export class HomeEdge implements HomeSiteHost {
  readonly deadlines: Deadlines;
  readonly dialMs: number;
  readonly log: Log;
  readonly exchanged: HomeSiteHost['exchanged'];
  readonly #handshakeCounts: HomeEdgeOptions['handshakes'];
  draining = false;
  readonly #offered: readonly string[];
  readonly #certificates: HomeCertificates;
  /** Where OpenSSL begins: without a certificate, so that only SNI leads to one; its session tickets are the tunnel's. */
  readonly #contexts = new Map<string, SecureContext>();
  readonly #handshakes = new Set<HomeHandshake>();
  readonly #connections = new Set<SiteConnection>();
  #requests = 0;

  private constructor(certificates: HomeCertificates, options: HomeEdgeOptions) {
    this.#certificates = certificates;
    this.deadlines = options.deadlines;
    this.dialMs = options.dialMs;
    this.log = options.log;
    this.#offered = offeredProtocols(options.http2);
    this.exchanged = options.exchanged;
    this.#handshakeCounts = options.handshakes;
  }

  /**
   * Reads the certificates of all end-to-end tunnels.
   * @throws {TunnelError} CONFIG_INVALID when one cannot be used or does not cover its tunnel's hostname.
   */
  static open(tunnels: Iterable<ClientTunnel>, options: HomeEdgeOptions): HomeEdge {
    return new HomeEdge(HomeCertificates.open(tunnels, options), options);
  }

  /** Visitors reach this tunnel from now on. */
  up(tunnel: ClientTunnel): void {
    this.#certificates.up(tunnel);
  }

  /** How the certificate of a tunnel stands; undefined when its TLS ends elsewhere. */
  certificateOf(tunnel: ClientTunnel): HomeCertificate | undefined {
    return this.#certificates.statusOf(tunnel);
  }

  /** Serves a visitor of an end-to-end tunnel. `first` are bytes that came with the Opening; the verdict was sent. */
  accept(
    stream: MuxStream,
    visit: { opening: Opening; first: Buffer; tunnel: ClientTunnel },
    onClose: () => void,
  ): void {
    const { opening, first, tunnel } = visit;
    const duplex = asDuplex(stream);
    duplex.on('error', ignore);
    duplex.once('close', onClose);
    if (!this.#certificates.serves(tunnel)) {
      duplex.destroy();
      return;
    }
    if (first.length > 0) duplex.unshift(first);
    // A handshake that fails ends with an alert, which tells visitors more than a reset.
    duplex.hasLastWords = true;
    const isChallenge = opening.alpn === ACME_ALPN;
    const socket = new TLSSocket(duplex, {
      isServer: true,
      secureContext: this.#contextOf(tunnel),
      // Never both: what proves a name to a CA must not be reached by visitors (RFC 8737 §3).
      ALPNProtocols: isChallenge ? [ACME_ALPN] : [...this.#offered],
      SNICallback: (name, done) => done(null, this.#certificateFor(tunnel, name, isChallenge)),
    });
    this.#handshakes.add(
      new HomeHandshake(socket, this.deadlines, (handshake, isSecure) => {
        this.#handshakes.delete(handshake);
        duplex.hasLastWords = false;
        this.#handshakeCounts[isSecure ? 'done' : 'failed'] += 1;
        if (isSecure && isChallenge) socket.destroySoon();
        else if (isSecure) this.#serve(socket, duplex, { tunnel, opening });
        else this.log.debug({ tunnel: tunnel.spec.name, stream: opening.id }, 'TLS handshake failed');
      }),
    );
  }

  /** Idle connections end, the others after their current exchange. */
  drain(): void {
    this.draining = true;
    // What is there is shown on; whoever serves the hostnames next also proves them.
    this.#certificates.close();
    for (const connection of this.#connections) connection.drain();
  }

  /** Ends every connection and the watch over the certificates. Safe any number of times. */
  close(): void {
    this.#certificates.close();
    for (const handshake of this.#handshakes) handshake.destroy();
    for (const connection of this.#connections) connection.destroy();
  }

  /** HomeSiteHost. */
  takeRequest(): boolean {
    if (this.#requests >= MAX_REQUESTS) return false;
    this.#requests += 1;
    return true;
  }

  /** HomeSiteHost. */
  giveBackRequest(): void {
    this.#requests -= 1;
  }

  /** HomeSiteHost. */
  closed(connection: SiteConnection): void {
    this.#connections.delete(connection);
  }

  #contextOf({ spec }: ClientTunnel): SecureContext {
    const known = this.#contexts.get(spec.name);
    if (known !== undefined) return known;
    const context = createSecureContext(tlsServerOptions);
    this.#contexts.set(spec.name, context);
    return context;
  }

  #certificateFor(tunnel: ClientTunnel, serverName: string, isChallenge: boolean): SecureContext | undefined {
    const hostname = hostnameOf(serverName);
    if (hostname === undefined) return undefined;
    const certificates = this.#certificates;
    return isChallenge ? certificates.challengeFor(tunnel, hostname) : certificates.contextFor(tunnel, hostname);
  }

  #serve(socket: TLSSocket, duplex: StreamDuplex, visit: { tunnel: ClientTunnel; opening: Opening }): void {
    const { tunnel, opening } = visit;
    // A visitor who half-closes is let go, as by the relay, with an end and no reset. The HTTP connection hears of it later.
    socket.once('end', () => {
      duplex.hasLastWords = true;
    });
    const tls = { version: socket.getProtocol() ?? '', alpn: socket.alpnProtocol || 'http/1.1' };
    const connection = serveVisitor(socket, tls.alpn, new HomeSite(this, tunnel, opening, tls));
    this.#connections.add(connection);
    if (this.draining) connection.drain();
  }
}

/** A TLS connection until its handshake is done, failed or took too long. */
class HomeHandshake implements Watched {
  readonly #socket: TLSSocket;
  readonly #deadlines: Deadlines;
  readonly #endsAtMs: number;
  readonly #onDone: (handshake: HomeHandshake, isSecure: boolean) => void;

  constructor(socket: TLSSocket, deadlines: Deadlines, onDone: (handshake: HomeHandshake, isSecure: boolean) => void) {
    this.#socket = socket;
    this.#deadlines = deadlines;
    this.#onDone = onDone;
    this.#endsAtMs = deadlines.nowMs + HANDSHAKE_MS;
    deadlines.watch(this);
    // The peer may break the connection at any time; 'close' follows and says all that matters.
    socket.on('error', ignore);
    socket.once('secure', this.#onSecure);
    socket.once('close', this.#onClose);
  }

  onTick(nowMs: number): void {
    if (nowMs >= this.#endsAtMs) this.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  readonly #onSecure = (): void => this.#finish(true);
  readonly #onClose = (): void => this.#finish(false);

  #finish(isSecure: boolean): void {
    this.#deadlines.unwatch(this);
    this.#socket.off('secure', this.#onSecure);
    this.#socket.off('close', this.#onClose);
    this.#onDone(this, isSecure);
  }
}

function ignore(): void {}
