/**
 * HomeEdge: ends the visitors' TLS of tunnels with tls: end-to-end. The relay passes their bytes as they come; here they
 * become TLS connections, and those are served by the HTTP code that the relay uses for its own.
 *
 *   stream → TLS handshake → HTTP connection        a handshake that fails or takes too long ends the stream
 *
 * It serves a hostname only with a certificate that covers it, and only to visitors whose SNI is that hostname: a relay
 * that sends other visitors here gets nothing. TLS runs over a Duplex on the stream; docs/decisions.md says why not over a
 * local socket.
 *
 * Owns: the certificates, the TLS connections. Owned by: Client.
 */
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import { CertificateFiles } from '../shared/certs/certificate-files.js';
import { type CertificateSource, tlsServerOptions } from '../shared/certs/certificates.js';
import type { Deadlines, Watched } from '../shared/deadlines.js';
import { asTunnelError, TunnelError } from '../shared/errors.js';
import { hostnameMatches, hostnameOf } from '../shared/hostname.js';
import type { SiteConnection } from '../shared/http/http-site.js';
import { offeredProtocols, serveVisitor } from '../shared/http2/serve-visitor.js';
import type { Log } from '../shared/log.js';
import type { MuxStream } from '../shared/mux/stream.js';
import { asDuplex } from '../shared/mux/stream-duplex.js';
import type { Opening } from '../shared/opening.js';
import type { ClientTunnel } from './client-tunnel.js';
import { HomeSite, type HomeSiteHost } from './home-site.js';

/** From the relay's Opening to the end of the TLS handshake; the relay waits as long for its own. */
const HANDSHAKE_MS = 10_000;

export interface HomeEdgeOptions {
  readonly deadlines: Deadlines;
  readonly dialMs: number;
  /** Whether visitors are offered HTTP/2. */
  readonly http2: boolean;
  readonly log: Log;
}

/** Requests over HTTP/2 at a time, of all visitors: as many as a relay opens streams by default. */
const MAX_REQUESTS = 1_024;

/** What a tunnel needs to end TLS. */
interface HomeTls {
  readonly certificates: CertificateSource;
  /** Where OpenSSL begins: without a certificate, so that only SNI leads to one; its session tickets are the tunnel's. */
  readonly context: SecureContext;
}

export class HomeEdge implements HomeSiteHost {
  readonly deadlines: Deadlines;
  readonly dialMs: number;
  readonly log: Log;
  draining = false;
  readonly #offered: readonly string[];
  readonly #byName = new Map<string, HomeTls>();
  readonly #handshakes = new Set<HomeHandshake>();
  readonly #connections = new Set<SiteConnection>();
  #requests = 0;

  private constructor(options: HomeEdgeOptions) {
    this.deadlines = options.deadlines;
    this.dialMs = options.dialMs;
    this.log = options.log;
    this.#offered = offeredProtocols(options.http2);
  }

  /**
   * Reads the certificates of all end-to-end tunnels.
   * @throws {TunnelError} CONFIG_INVALID when one cannot be used or does not cover its tunnel's hostname.
   */
  static open(tunnels: Iterable<ClientTunnel>, options: HomeEdgeOptions): HomeEdge {
    const edge = new HomeEdge(options);
    try {
      for (const tunnel of tunnels) edge.#addTunnel(tunnel);
      return edge;
    } catch (error) {
      edge.close();
      throw asTunnelError(error);
    }
  }

  /** Serves a visitor of an end-to-end tunnel. `first` are bytes that came with the Opening; the verdict was sent. */
  accept(
    stream: MuxStream,
    visit: { opening: Opening; first: Buffer; tunnel: ClientTunnel },
    onClose: () => void,
  ): void {
    const { opening, first, tunnel } = visit;
    const tls = this.#byName.get(tunnel.spec.name);
    const duplex = asDuplex(stream);
    duplex.on('error', ignore);
    duplex.once('close', onClose);
    if (tls === undefined) {
      duplex.destroy();
      return;
    }
    if (first.length > 0) duplex.unshift(first);
    const socket = new TLSSocket(duplex, {
      isServer: true,
      secureContext: tls.context,
      ALPNProtocols: [...this.#offered],
      SNICallback: (name, done) => done(null, contextFor(tunnel, tls.certificates, name)),
    });
    this.#handshakes.add(
      new HomeHandshake(socket, this.deadlines, (handshake, isSecure) => {
        this.#handshakes.delete(handshake);
        if (isSecure) this.#serve(socket, tunnel, opening);
        else this.log.debug({ tunnel: tunnel.spec.name, stream: opening.id }, 'TLS handshake failed');
      }),
    );
  }

  /** Idle connections end, the others after their current exchange. */
  drain(): void {
    this.draining = true;
    for (const connection of this.#connections) connection.drain();
  }

  /** Ends every connection and the watch over the certificates. Safe any number of times. */
  close(): void {
    for (const { certificates } of this.#byName.values()) certificates.close();
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

  #addTunnel({ spec }: ClientTunnel): void {
    const { name, host, tls, certificate } = spec;
    if (tls !== 'end-to-end' || host === undefined || certificate === undefined) return;
    const place = `to tunnel ${name} in tunnel.yaml`;
    const certificates = CertificateFiles.open([certificate], { log: this.log, place });
    this.#byName.set(name, { certificates, context: createSecureContext(tlsServerOptions) });
    if (certificates.contextFor(host) !== undefined) return;
    const covered = certificates
      .list()
      .map((entry) => entry.name)
      .join(', ');
    const state = `its certificate ${certificate.certFile} covers ${covered}, not ${host}`;
    throw new TunnelError('CONFIG_INVALID', `Cannot serve tunnel ${name}: ${state}. Name one that covers it.`);
  }

  #serve(socket: TLSSocket, tunnel: ClientTunnel, opening: Opening): void {
    const tls = { version: socket.getProtocol() ?? '', alpn: socket.alpnProtocol || 'http/1.1' };
    const connection = serveVisitor(socket, new HomeSite(this, tunnel, opening, tls));
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

function contextFor(tunnel: ClientTunnel, certificates: CertificateSource, name: string): SecureContext | undefined {
  const hostname = hostnameOf(name);
  if (hostname === undefined || !hostnameMatches(tunnel.spec.host ?? '', hostname)) return undefined;
  return certificates.contextFor(hostname);
}

function ignore(): void {}
