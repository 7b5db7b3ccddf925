/**
 * Relay: builds the rooms of the relay and joins them; nobody else does. Each room gets what it needs as values and
 * functions and knows no other room.
 *
 *   starting → running → draining → stopped
 *
 * Owns: everything. `close` ends it all, in every state, and leaves no handle open.
 */
import { formatAddress } from '../shared/address.js';
import { Deadlines } from '../shared/deadlines.js';
import type { ErrorCode } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { VERSION } from '../shared/version.js';
import { RelayCertificates } from './certs/relay-certificates.js';
import { Edge } from './edge/edge.js';
import { OwnSite } from './edge/own-site.js';
import { Redirect } from './edge/redirect.js';
import { TcpPorts } from './edge/tcp-ports.js';
import { Visitors } from './edge/visitors.js';
import { AdminListener, type AdminSubject } from './ops/admin-listener.js';
import { RefusalCounts } from './ops/refusal-counts.js';
import { relayStatus } from './ops/relay-snapshot.js';
import type { ListenerStatus, RelayState, RelayStatus } from './ops/relay-status.js';
import type { RelayConfig } from './relay-config.js';
import { Claims } from './sessions/claims.js';
import { ProtectedHosts } from './sessions/protected-hosts.js';
import { RememberedHosts } from './sessions/remembered-hosts.js';
import { Routes } from './sessions/routes.js';
import { Sessions } from './sessions/sessions.js';
import { TokenStore } from './sessions/token-store.js';
import type { TokenWatch } from './sessions/token-watch.js';
import type { Tunnel } from './sessions/tunnel.js';

/** How soon clients of a stopping relay should try again; with jitter of their own. */
const RECONNECT_MS = 500;

/** How often a draining relay looks whether its last stream has ended. */
const DRAIN_POLL_MS = 50;

/** What tests and embedders may put in place of the machine's own. */
export interface RelayOptions {
  /** The clock of certificates: milliseconds since 1970; the system's when left out. */
  readonly now?: () => number;
  /** How long a claim waits for its certificate; 60 s when left out. */
  readonly claimWaitMs?: number;
}

export class Relay {
  readonly #config: RelayConfig;
  readonly #log: Log;
  readonly #deadlines = new Deadlines();
  readonly #refusals = new RefusalCounts();
  readonly #certificates: RelayCertificates;
  readonly #tokens: TokenWatch;
  readonly #routes: Routes;
  readonly #claims: Claims;
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

  private constructor(config: RelayConfig, log: Log, certificates: RelayCertificates, protectedHosts: ProtectedHosts) {
    const refused = (code: ErrorCode) => this.#refusals.count(code);
    this.#config = config;
    this.#log = log;
    this.#certificates = certificates;
    this.#tokens = TokenStore.open(config.stateDir).watch({
      onChange: () => this.#onTokensChanged(),
      onProblem: (problem) => log.error({ code: problem.code, reason: problem.message }, 'token file cannot be used'),
    });
    this.#routes = new Routes({ ...config.limits, onOffline: (tunnel) => this.#onOffline(tunnel) });
    this.#sessions = new Sessions({
      relay: config.domain,
      limits: config.limits,
      log,
      token: (id) => this.#tokens.find(id),
      claim: (session, claim) => this.#claims.decide(session, claim),
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
      certificates: certificates.source,
      challengeContextFor: certificates.challengeContextFor,
      visitors: this.#visitors,
      deadlines: this.#deadlines,
      limits: { ...limits, fields: limits.headFields },
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
    this.#claims = new Claims({
      domain: config.domain,
      publicPort: config.publicPort,
      hostnamesPerToken: limits.hostnamesPerToken,
      tokens: this.#tokens,
      routes: this.#routes,
      remembered: new RememberedHosts(config.stateDir),
      protectedHosts,
      certificates,
      tcpPorts: this.#tcpPorts,
      log,
    });
    this.#redirect = config.listen.http && this.#makeRedirect();
  }

  /**
   * Starts a relay; it accepts connections when this resolves. Rejects with CONFIG_INVALID, and nothing is left open
   * then.
   */
  static async start(config: RelayConfig, log: Log, options: RelayOptions = {}): Promise<Relay> {
    const protectedHosts = ProtectedHosts.open(config.stateDir);
    let relay: Relay | undefined;
    const isWanted = (hostname: string) => relay === undefined || relay.#wantsCertificate(hostname);
    const certificates = await RelayCertificates.open(config, { log, isWanted, ...options });
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
    await this.#certificates.prepareAtStart(config.domain);
    await this.#claims.knowAtStart();
    const listeners: ListenerStatus[] = [
      { name: 'https', address: formatAddress(await this.#edge.listen(config.listen.https)) },
    ];
    if (this.#redirect !== undefined && config.listen.http !== undefined) {
      listeners.push({ name: 'http', address: formatAddress(await this.#redirect.listen(config.listen.http)) });
    }
    if (config.listen.admin !== undefined) {
      this.#admin = await AdminListener.listen(config.listen.admin, this.#adminSubject());
      listeners.push({ name: 'admin', address: formatAddress(this.#admin.address) });
    }
    this.#listeners = listeners;
    this.#state = 'running';
    this.#certificates.begin(config.domain);
  }

  #adminSubject(): AdminSubject {
    const certificates = this.#certificates;
    return {
      status: () => this.status(),
      ready: () => this.#ready(),
      certificates: () => certificates.list(),
      renewCertificate: (hostname) => certificates.renew(hostname),
      reloadCertificates: () => certificates.reload(),
    };
  }

  #ready(): true | string {
    if (this.#state !== 'running') return `relay is ${this.#state}`;
    return this.#certificates.problemOf(this.#config.domain) ?? true;
  }

  #wantsCertificate(hostname: string): boolean {
    const { domain, acme } = this.#config;
    return hostname === domain || acme.wildcards.includes(hostname) || this.#claims.isWanted(hostname);
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
      challengeAnswer: this.#certificates.challengeAnswer,
      isKnown: (hostname) => hostname === this.#config.domain || this.#routes.find(hostname) !== undefined,
    });
  }

  #onTokensChanged(): void {
    this.#sessions.enforceTokens();
    this.#claims.onTokensChanged();
  }

  #onOffline(tunnel: Tunnel): void {
    const port = tunnel.address.startsWith(':') ? Number(tunnel.address.slice(1)) : undefined;
    if (port === undefined) return;
    this.#tcpPorts.closePort(port);
    this.#routes.forget(tunnel.address);
  }
}
