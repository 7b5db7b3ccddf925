/**
 * Relay: builds the rooms of the relay and joins them; nobody else does. Each room gets what it needs as values and
 * functions and knows no other room.
 *
 *   starting → running → draining → stopped
 *
 * Owns: everything. `close` ends it all, in every state, and leaves no handle open.
 */
import { CertificateFiles } from '../shared/certs/certificate-files.js';
import type { CertificateSource } from '../shared/certs/certificates.js';
import { Deadlines } from '../shared/deadlines.js';
import { type ErrorCode, TunnelError } from '../shared/errors.js';
import { normalisePattern } from '../shared/hostname.js';
import { ListenSockets, type NamedSocket } from '../shared/listen-sockets.js';
import type { Log } from '../shared/log.js';
import type { Claim } from '../shared/messages.js';
import { VERSION } from '../shared/version.js';
import { LocalCa } from './certs/local-ca.js';
import { Edge, type EdgeOptions } from './edge/edge.js';
import { descriptorOf } from './edge/listen.js';
import { OwnSite } from './edge/own-site.js';
import { Redirect } from './edge/redirect.js';
import { TcpPorts } from './edge/tcp-ports.js';
import { Visitors } from './edge/visitors.js';
import { Listeners, type ListenersOptions } from './listeners.js';
import { AdminListener } from './ops/admin-listener.js';
import { probeListener } from './ops/probe-listener.js';
import { RefusalCounts } from './ops/refusal-counts.js';
import { publicUrl, relayStatus } from './ops/relay-snapshot.js';
import type { ListenerStatus, RelayState, RelayStatus } from './ops/relay-status.js';
import type { RelayConfig, RelayLimits } from './relay-config.js';
import { type ReloadReport, relayChanges, reloaded } from './relay-reload.js';
import { mayClaimHost, mayClaimPort } from './sessions/grants.js';
import { type HomeTlsMode, ProtectedHosts } from './sessions/protected-hosts.js';
import { RememberedHosts } from './sessions/remembered-hosts.js';
import { portAddress, Routes, wildcardAbove } from './sessions/routes.js';
import type { Session } from './sessions/session.js';
import { Sessions } from './sessions/sessions.js';
import { isExpired } from './sessions/token-record.js';
import { TokenStore } from './sessions/token-store.js';
import type { TokenWatch } from './sessions/token-watch.js';
import type { Tunnel } from './sessions/tunnel.js';

/** How soon clients of a stopping relay should try again; with jitter of their own. */
const RECONNECT_MS = 500;

/** How often a draining relay looks whether its last stream has ended. */
const DRAIN_POLL_MS = 50;

type EdgeLimits = EdgeOptions['limits'];

interface RelayParts {
  readonly log: Log;
  readonly certificates: CertificateSource;
  readonly protectedHosts: ProtectedHosts;
}

export class Relay {
  readonly #log: Log;
  readonly #sockets: ListenSockets;
  /** The rooms hold these two for ever, so `reload` changes them in place. */
  readonly #limits: RelayLimits;
  readonly #edgeLimits: EdgeLimits;
  readonly #deadlines = new Deadlines();
  readonly #refusals = new RefusalCounts();
  readonly #certificates: CertificateSource;
  readonly #tokens: TokenWatch;
  readonly #routes: Routes;
  readonly #remembered: RememberedHosts;
  readonly #protected: ProtectedHosts;
  readonly #sessions: Sessions;
  readonly #visitors: Visitors;
  readonly #edge: Edge;
  readonly #ownSite: OwnSite;
  readonly #tcpPorts: TcpPorts;
  readonly #listeners: Listeners;
  readonly #startedAtMs = Date.now();
  #config: RelayConfig;
  #redirect: Redirect | undefined;
  #admin: AdminListener | undefined;
  #state: RelayState = 'starting';
  #stopping: Promise<void> | undefined;

  private constructor(
    config: RelayConfig,
    { log, sockets, certificates, protectedHosts }: RelayParts & { readonly sockets: ListenSockets },
  ) {
    const refused = (code: ErrorCode) => this.#refusals.count(code);
    const limits: RelayLimits = { ...config.limits };
    this.#config = config;
    this.#log = log;
    this.#sockets = sockets;
    this.#limits = limits;
    this.#edgeLimits = edgeLimits(limits);
    this.#certificates = certificates;
    this.#tokens = TokenStore.open(config.stateDir).watch({
      onChange: () => this.#onTokensChanged(),
      onProblem: (problem) => log.error({ code: problem.code, reason: problem.message }, 'token file cannot be used'),
    });
    this.#remembered = new RememberedHosts(config.stateDir);
    this.#protected = protectedHosts;
    this.#routes = new Routes({ limits, onOffline: (tunnel) => this.#onOffline(tunnel) });
    this.#sessions = new Sessions({
      relay: config.domain,
      limits,
      log,
      token: (id) => this.#tokens.find(id),
      claim: (session, claim) => this.#claim(session, claim),
      refused,
    });
    const { trustedProxies, proxyProtocol } = config;
    this.#visitors = new Visitors({ deadlines: this.#deadlines, trustedProxies, proxyProtocol, limits });
    const { isTrusted } = this.#visitors;
    this.#ownSite = new OwnSite({
      ...limits,
      domain: config.domain,
      isTrusted,
      onLink: (link, closed, address, elsewhere) => void this.#sessions.accept(link, closed, address, elsewhere),
    });
    this.#edge = new Edge({
      domain: config.domain,
      routes: this.#routes,
      certificates,
      visitors: this.#visitors,
      deadlines: this.#deadlines,
      limits: this.#edgeLimits,
      hsts: config.hsts,
      log,
      onOwnSite: (socket, visitor) => this.#ownSite.accept(socket, visitor),
      refused,
    });
    this.#tcpPorts = new TcpPorts({
      host: config.listen.tcpHost,
      visitors: this.#visitors,
      deadlines: this.#deadlines,
      limits,
      given: (name) => sockets.take(name),
      log,
      refused,
    });
    this.#listeners = new Listeners({ rooms: this.#listeningRooms, sockets, log });
  }

  /**
   * Starts a relay; it accepts connections when this resolves, from `sockets` where they have one of the right name.
   * Rejects with CONFIG_INVALID, and nothing is left open then.
   */
  static async start(config: RelayConfig, log: Log, sockets = new ListenSockets()): Promise<Relay> {
    const protectedHosts = ProtectedHosts.open(config.stateDir);
    const certificates = await openCertificates(config, log);
    let relay: Relay | undefined;
    try {
      relay = new Relay(config, { log, sockets, certificates, protectedHosts });
      await relay.#listen();
      return relay;
    } catch (error) {
      certificates.close();
      await relay?.close();
      throw error;
    }
  }

  /** Addresses it listens on, by name: https, http, admin. */
  get listeners(): readonly ListenerStatus[] {
    return this.#listeners.status;
  }

  get state(): RelayState {
    return this.#state;
  }

  /** How long visitors may finish, in milliseconds. */
  get drainMs(): number {
    return this.#config.drainMs;
  }

  status(): RelayStatus {
    return relayStatus({
      version: VERSION,
      domain: this.#config.domain,
      publicPort: this.#config.publicPort,
      startedAtMs: this.#startedAtMs,
      state: this.#state,
      listeners: this.#listeners.status,
      connections: this.#visitors.count,
      refusals: this.#refusals.all,
      sessions: this.#sessions.all,
      tunnels: this.#routes.tunnels,
      certificates: this.#certificates.list(),
    });
  }

  /**
   * Reads certificate files again (tokens are watched anyway) and takes over all of `wanted` that can change under a running
   * relay; the log's level is the program's.
   * Rejects with CONFIG_INVALID when a new listener cannot be had; what it listened on before it then still does.
   */
  async reload(wanted: RelayConfig): Promise<ReloadReport> {
    const report = relayChanges(this.#config, wanted);
    this.#certificates.reload();
    await this.#listeners.listen(wanted.listen);
    const config = reloaded(this.#config, wanted);
    this.#config = config;
    Object.assign(this.#limits, config.limits);
    Object.assign(this.#edgeLimits, edgeLimits(config.limits));
    this.#ownSite.limit(config.limits);
    this.#visitors.trust(config);
    this.#edge.demandHttps(config.hsts);
    this.#log.info({ event: 'reloaded', applied: report.applied, waiting: report.waiting }, 'configuration reloaded');
    return report;
  }

  /** Listening sockets for a successor that runs with `wanted`: it can accept from them while this relay still does. */
  socketsFor(wanted: RelayConfig): NamedSocket[] {
    return [...this.#listeners.socketsFor(wanted.listen), ...this.#tcpPorts.descriptors];
  }

  /** Whether a visitor would be served; see `probeListener`. Rejects with what is wrong. */
  async probe(): Promise<void> {
    const https = this.#listeners.status.find(({ name }) => name === 'https');
    if (this.#state !== 'running' || https === undefined) return;
    const startWithProxyHeader = this.#config.proxyProtocol && this.#visitors.isTrusted('127.0.0.1');
    await probeListener(https.address, { serverName: this.#config.domain, startWithProxyHeader });
  }

  /**
   * Stops accepting, tells clients to come back in `reconnectMs`, lets visitors finish for `drainMs`, then closes. A second
   * call, or `close`, ends it at once.
   */
  async drain(reconnectMs = RECONNECT_MS): Promise<void> {
    if (this.#state !== 'running') return this.close();
    this.#state = 'draining';
    this.#log.info({ streams: this.#sessions.streamCount, ms: this.#config.drainMs }, 'relay draining');
    this.#edge.drain();
    this.#redirect?.drain();
    this.#tcpPorts.drain();
    this.#sessions.drain(reconnectMs);
    const untilMs = performance.now() + this.#config.drainMs;
    while (this.#busyCount > 0 && performance.now() < untilMs && this.#stopping === undefined) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
    await this.close();
  }

  /** Whoever may still lose something by our end. A visitor in its TLS handshake has no stream yet. */
  get #busyCount(): number {
    return this.#sessions.streamCount + this.#edge.busyCount + (this.#redirect?.busyCount ?? 0);
  }

  /** Ends everything now. Safe in any state, any number of times. */
  close(): Promise<void> {
    this.#stopping ??= this.#close();
    return this.#stopping;
  }

  async #close(): Promise<void> {
    this.#sessions.close();
    this.#routes.close();
    this.#tokens.close();
    this.#certificates.close();
    this.#ownSite.close();
    const closed = [this.#edge.close(), this.#tcpPorts.close(), this.#redirect?.close(), this.#admin?.close()];
    this.#visitors.close();
    await Promise.all(closed);
    this.#deadlines.close();
    this.#sockets.close();
    this.#state = 'stopped';
    this.#log.info({ event: 'stopped' }, 'relay stopped');
  }

  async #listen(): Promise<void> {
    const config = this.#config;
    await this.#certificates.prepare(config.domain);
    this.#knowProtectedHosts();
    await this.#knowHosts('held');
    await this.#listeners.listen(config.listen);
    this.#state = 'running';
  }

  get #listeningRooms(): ListenersOptions['rooms'] {
    return {
      https: {
        listen: async (address, given) => address && this.#edge.listen(address, given),
        descriptor: () => this.#edge.descriptor,
      },
      http: {
        listen: async (address, given) => {
          const next = address && this.#makeRedirect();
          const bound = address && (await next?.listen(address, given));
          this.#redirect?.drain();
          this.#redirect = next;
          return bound;
        },
        descriptor: () => this.#redirect?.descriptor,
      },
      admin: {
        listen: async (address, given) => {
          const subject = { status: () => this.status(), ready: () => this.#ready() };
          const next = address && (await AdminListener.listen(address, subject, given));
          await this.#admin?.close();
          this.#admin = next;
          return next?.address;
        },
        descriptor: () => this.#admin && descriptorOf(this.#admin.server),
      },
    };
  }

  #ready(): true | string {
    return this.#state === 'running' || `relay is ${this.#state}`;
  }

  #makeRedirect(): Redirect {
    return new Redirect({
      publicPort: () => this.#config.publicPort,
      limits: this.#limits,
      isTrusted: this.#visitors.isTrusted,
      isKnown: (hostname) => hostname === this.#config.domain || this.#routes.find(hostname) !== undefined,
    });
  }

  // ---- tokens and claims ----

  /** They are known whoever may claim them now: a name that nobody knows would fall to the wildcard above it. */
  #knowProtectedHosts(): void {
    for (const { host, tokenId, tls } of this.#protected.all()) {
      const tunnel = this.#routes.know(host);
      tunnel.endTlsAt(tls);
      const token = this.#tokens.get(tokenId);
      if (token === undefined || isExpired(token) || !mayClaimHost(token.grants, host)) continue;
      tunnel.holdFor({ tokenId: token.id, tokenName: token.name, clientId: '' });
    }
  }

  /**
   * Hostnames that a token names exactly, and those it claimed before, are known before their client comes, so that
   * their visitors get a page. After a restart they are held, as for any session that was lost.
   */
  async #knowHosts(state: 'held' | 'offline'): Promise<void> {
    for (const token of this.#tokens.all()) {
      if (isExpired(token)) continue;
      const exact = token.grants.hosts.filter((host) => !host.startsWith('*.'));
      const claimed = this.#remembered.of(token.id).filter((host) => mayClaimHost(token.grants, host));
      for (const host of new Set([...exact, ...claimed])) {
        if (host === this.#config.domain || this.#routes.knows(host)) continue;
        if (!this.#endsTlsOf(host)) continue;
        await this.#prepareQuietly(host);
        const tunnel = this.#routes.know(host);
        if (state === 'held') tunnel.holdFor({ tokenId: token.id, tokenName: token.name, clientId: '' });
      }
    }
  }

  async #prepareQuietly(host: string): Promise<void> {
    try {
      await this.#certificates.prepare(host);
    } catch (error) {
      this.#log.warn({ host, reason: error instanceof Error ? error.message : '' }, 'no certificate for granted host');
    }
  }

  #onTokensChanged(): void {
    this.#sessions.enforceTokens();
    for (const tunnel of [...this.#routes.tunnels]) {
      tunnel.releaseUnless((id) => this.#tokens.get(id) !== undefined);
      this.#withdrawUngranted(tunnel);
    }
    void this.#knowHosts('offline');
  }

  /** A token may have lost a grant while a client uses it. */
  #withdrawUngranted(tunnel: Tunnel): void {
    const { session, address, claim } = tunnel;
    const token = session && this.#tokens.get(session.owner.tokenId);
    if (session === undefined || token === undefined || claim === undefined) return;
    const { grants } = token;
    const isGranted = claim.tcpPort === undefined ? mayClaimHost(grants, address) : mayClaimPort(grants, claim.tcpPort);
    if (!isGranted) session.withdraw(tunnel, notGranted(address, token.name));
  }

  async #claim(session: Session, claim: Claim): Promise<{ tunnel: Tunnel; url: string }> {
    const token = this.#tokens.get(session.owner.tokenId);
    if (token === undefined) throw new TunnelError('TOKEN_REJECTED', 'Cannot claim: the token was revoked');
    if (claim.tcpPort !== undefined) {
      if (!mayClaimPort(token.grants, claim.tcpPort)) throw notGranted(`port ${claim.tcpPort}`, token.name);
      return this.#claimPort(session, claim.tcpPort);
    }
    const host = normalisePattern(claim.host ?? '', 'host');
    if (host === this.#config.domain || !mayClaimHost(token.grants, host)) throw notGranted(host, token.name);
    return claim.tls === 'relay' ? this.#claimHost(session, host) : this.#claimPassedHost(session, host, claim.tls);
  }

  async #claimHost(session: Session, host: string): Promise<{ tunnel: Tunnel; url: string }> {
    const tunnel = this.#routes.know(host);
    tunnel.checkTaking(session.owner);
    this.#checkMayEndTls(host);
    await this.#certificates.prepare(host);
    this.#remembered.remember(host, session.owner.tokenId);
    return { tunnel, url: publicUrl(host, this.#config) };
  }

  /** A hostname whose TLS the relay never ends: no certificate is made ready, and the promise is on disk first. */
  async #claimPassedHost(session: Session, host: string, tls: HomeTlsMode): Promise<{ tunnel: Tunnel; url: string }> {
    const tunnel = this.#routes.know(host);
    tunnel.checkTaking(session.owner);
    const below = this.#routes.relayTlsBelow(host);
    if (below !== undefined) {
      const message = `Cannot claim ${host} with tls: ${tls}: ${below}, below it, is in use with tls: relay. End that first.`;
      throw new TunnelError('HOSTNAME_TAKEN', message);
    }
    this.#protected.protect({ host, tokenId: session.owner.tokenId, tls });
    tunnel.endTlsAt(tls);
    return { tunnel, url: publicUrl(host, this.#config) };
  }

  /**
   * Throws NOT_GRANTED when the name, or the wildcard above it, was claimed with TLS that ends elsewhere and the operator
   * has not said since that it may end here; from then on it may.
   */
  #checkMayEndTls(host: string): void {
    for (const name of [host, wildcardAbove(host)]) {
      const tunnel = this.#routes.get(name);
      const inUse = name !== host && tunnel !== undefined && tunnel.tls !== 'relay' && tunnel.state !== 'offline';
      if (inUse || this.#protected.has(name)) throw endsElsewhere(host, name);
      tunnel?.endTlsAt('relay');
    }
  }

  #endsTlsOf(host: string): boolean {
    return !this.#protected.has(host) && !this.#protected.has(wildcardAbove(host));
  }

  async #claimPort(session: Session, port: number): Promise<{ tunnel: Tunnel; url: string }> {
    const tunnel = this.#routes.know(portAddress(port));
    tunnel.checkTaking(session.owner);
    await this.#tcpPorts.open(port, tunnel);
    return { tunnel, url: publicUrl(tunnel.address, this.#config) };
  }

  #onOffline(tunnel: Tunnel): void {
    const port = tunnel.address.startsWith(':') ? Number(tunnel.address.slice(1)) : undefined;
    if (port === undefined) return;
    this.#tcpPorts.closePort(port);
    this.#routes.forget(tunnel.address);
  }
}

/** What the edge calls the limits. */
function edgeLimits(limits: RelayLimits): EdgeLimits {
  return { ...limits, fields: limits.headFields };
}

function notGranted(what: string, token: string): TunnelError {
  const cure = 'Ask the relay’s operator for a token that grants it: relay token create NAME --host … or --tcp-port …';
  return new TunnelError('NOT_GRANTED', `Cannot claim ${what}: token ${token} does not grant it. ${cure}`);
}

function endsElsewhere(host: string, name: string): TunnelError {
  const state = `TLS of ${name} was claimed to end at home, and then it never ends at the relay`;
  const cure = `Write tls: end-to-end, or ask the relay’s operator: relay host forget '${name}'`;
  return new TunnelError('NOT_GRANTED', `Cannot claim ${host} with tls: relay: ${state}. ${cure}`);
}

function openCertificates(config: RelayConfig, log: Log): Promise<CertificateSource> | CertificateSource {
  if (config.tls.mode === 'local-ca') return LocalCa.open(config.stateDir, { log });
  return CertificateFiles.open(config.tls.certificates, { log });
}
