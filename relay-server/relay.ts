/**
 * Relay: builds the rooms of the relay and joins them; nobody else does. Each room gets what it needs as values and
 * functions and knows no other room.
 *
 *   starting → running → draining → stopped
 *
 * Owns: everything. `close` ends it all, in every state, and leaves no handle open.
 */
import { formatAddress } from '../shared/address.js';
import { CertificateFiles } from '../shared/certs/certificate-files.js';
import type { CertificateSource } from '../shared/certs/certificates.js';
import { Deadlines } from '../shared/deadlines.js';
import { type ErrorCode, TunnelError } from '../shared/errors.js';
import { normalisePattern } from '../shared/hostname.js';
import { offersHttp2 } from '../shared/http2/patched-runtime.js';
import type { Log } from '../shared/log.js';
import type { Claim } from '../shared/messages.js';
import { VERSION } from '../shared/version.js';
import { LocalCa } from './certs/local-ca.js';
import { Edge } from './edge/edge.js';
import { OwnSite } from './edge/own-site.js';
import { Redirect } from './edge/redirect.js';
import { TcpPorts } from './edge/tcp-ports.js';
import { Visitors } from './edge/visitors.js';
import { AdminListener } from './ops/admin-listener.js';
import { RefusalCounts } from './ops/refusal-counts.js';
import { publicUrl, relayStatus } from './ops/relay-snapshot.js';
import type { ListenerStatus, RelayState, RelayStatus } from './ops/relay-status.js';
import type { RelayConfig } from './relay-config.js';
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

export class Relay {
  readonly #config: RelayConfig;
  readonly #log: Log;
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
  readonly #redirect: Redirect | undefined;
  readonly #startedAtMs = Date.now();
  #admin: AdminListener | undefined;
  #listeners: ListenerStatus[] = [];
  #state: RelayState = 'starting';
  #stopping: Promise<void> | undefined;

  private constructor(config: RelayConfig, log: Log, certificates: CertificateSource, protectedHosts: ProtectedHosts) {
    const refused = (code: ErrorCode) => this.#refusals.count(code);
    this.#config = config;
    this.#log = log;
    this.#certificates = certificates;
    this.#tokens = TokenStore.open(config.stateDir).watch({
      onChange: () => this.#onTokensChanged(),
      onProblem: (problem) => log.error({ code: problem.code, reason: problem.message }, 'token file cannot be used'),
    });
    this.#remembered = new RememberedHosts(config.stateDir);
    this.#protected = protectedHosts;
    this.#routes = new Routes({ ...config.limits, onOffline: (tunnel) => this.#onOffline(tunnel) });
    this.#sessions = new Sessions({
      relay: config.domain,
      limits: config.limits,
      log,
      token: (id) => this.#tokens.find(id),
      claim: (session, claim) => this.#claim(session, claim),
      refused,
    });
    const { trustedProxies, proxyProtocol, limits } = config;
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
      limits: { ...limits, fields: limits.headFields },
      http2: offersHttp2(config.http2),
      hsts: config.hsts,
      log,
      onOwnSite: (socket, visitor) => this.#ownSite.accept(socket, visitor),
      refused,
    });
    this.#tcpPorts = new TcpPorts({
      host: config.listen.tcpHost,
      visitors: this.#visitors,
      deadlines: this.#deadlines,
      idleMs: limits.tcpIdleMs,
      log,
      refused,
    });
    this.#redirect = config.listen.http && this.#makeRedirect();
  }

  /**
   * Starts a relay; it accepts connections when this resolves. Rejects with CONFIG_INVALID, and nothing is left open
   * then.
   */
  static async start(config: RelayConfig, log: Log): Promise<Relay> {
    const protectedHosts = ProtectedHosts.open(config.stateDir);
    const certificates = await openCertificates(config, log);
    let relay: Relay | undefined;
    try {
      relay = new Relay(config, log, certificates, protectedHosts);
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
    return this.#listeners;
  }

  get state(): RelayState {
    return this.#state;
  }

  status(): RelayStatus {
    return relayStatus({
      version: VERSION,
      domain: this.#config.domain,
      publicPort: this.#config.publicPort,
      startedAtMs: this.#startedAtMs,
      state: this.#state,
      listeners: this.#listeners,
      connections: this.#visitors.count,
      refusals: this.#refusals.all,
      sessions: this.#sessions.all,
      tunnels: this.#routes.tunnels,
      certificates: this.#certificates.list(),
    });
  }

  /** Reads certificate files again. (Tokens are watched anyway; options of relay.yaml need a restart.) */
  reload(): void {
    this.#certificates.reload();
    this.#log.info({ event: 'reloaded' }, 'certificates and tokens are up to date; relay.yaml needs a restart');
  }

  /**
   * Stops accepting, tells clients to come back later, lets streams finish for `drainMs`, then closes. A second call, or
   * `close`, ends it at once.
   */
  async drain(): Promise<void> {
    if (this.#state !== 'running') return this.close();
    this.#state = 'draining';
    this.#log.info({ streams: this.#sessions.streamCount, ms: this.#config.drainMs }, 'relay draining');
    this.#edge.drain();
    this.#tcpPorts.drain();
    this.#sessions.drain(RECONNECT_MS);
    const untilMs = performance.now() + this.#config.drainMs;
    while (this.#sessions.streamCount > 0 && performance.now() < untilMs && this.#stopping === undefined) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
    await this.close();
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
    this.#state = 'stopped';
    this.#log.info({ event: 'stopped' }, 'relay stopped');
  }

  async #listen(): Promise<void> {
    const config = this.#config;
    await this.#certificates.prepare(config.domain);
    this.#knowProtectedHosts();
    await this.#knowHosts('held');
    const listeners: ListenerStatus[] = [
      { name: 'https', address: formatAddress(await this.#edge.listen(config.listen.https)) },
    ];
    if (this.#redirect !== undefined && config.listen.http !== undefined) {
      listeners.push({ name: 'http', address: formatAddress(await this.#redirect.listen(config.listen.http)) });
    }
    if (config.listen.admin !== undefined) {
      const subject = { status: () => this.status(), ready: () => this.#ready() };
      this.#admin = await AdminListener.listen(config.listen.admin, subject);
      listeners.push({ name: 'admin', address: formatAddress(this.#admin.address) });
    }
    this.#listeners = listeners;
    this.#state = 'running';
  }

  #ready(): true | string {
    return this.#state === 'running' || `relay is ${this.#state}`;
  }

  #makeRedirect(): Redirect {
    const { limits, publicPort } = this.#config;
    return new Redirect({
      publicPort,
      headBytes: limits.headBytes,
      headMs: limits.headMs,
      maxConnections: limits.connections,
      connectionsPerIp: limits.connectionsPerIp,
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
    for (const tunnel of this.#routes.tunnels) tunnel.releaseUnless((id) => this.#tokens.get(id) !== undefined);
    void this.#knowHosts('offline');
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
