/**
 * Relay: builds the rooms of the relay and joins them; nobody else does. Each room gets what it needs as values and
 * functions and knows no other room.
 *
 *   starting → running → draining → stopped
 *
 * Owns: everything. `close` ends it all, in every state, and leaves no handle open.
 */
import { AccessLog } from '../shared/access-log/access-log.js';
import { type Address, formatAddress } from '../shared/address.js';
import type { Readiness } from '../shared/admin-server.js';
import type { IssuedCertificate } from '../shared/certs/certificates.js';
import { Deadlines } from '../shared/deadlines.js';
import type { ErrorCode } from '../shared/errors.js';
import { offersHttp2 } from '../shared/http2/http2-mode.js';
import type { Log } from '../shared/log.js';
import { CodeCounts } from '../shared/metrics/code-counts.js';
import { ExchangeMetrics } from '../shared/metrics/exchange-metrics.js';
import { ProcessMetrics } from '../shared/metrics/process-metrics.js';
import type { Secret } from '../shared/secret.js';
import { ListenSockets, type NamedSocket } from '../shared/service/listen-sockets.js';
import { VERSION } from '../shared/version.js';
import { RelayCertificates } from './certs/relay-certificates.js';
import type { OnCarried } from './edge/carry-visit.js';
import { Edge, type EdgeOptions } from './edge/edge.js';
import { descriptorOf } from './edge/listen.js';
import { OwnSite } from './edge/own-site.js';
import { Redirect } from './edge/redirect.js';
import { TcpPorts } from './edge/tcp-ports.js';
import { Visitors } from './edge/visitors.js';
import { Listeners, type ListenersOptions } from './listeners.js';
import { AdminListener, type AdminSubject } from './ops/admin-listener.js';
import { adminTokenReader, isOpenAdmin } from './ops/admin-token.js';
import { Alerts } from './ops/alerts/alerts.js';
import { AuditLog } from './ops/audit/audit-log.js';
import { deviceEntry } from './ops/device-report.js';
import { refuseUnwritableLogs } from './ops/log-places.js';
import { probeListener } from './ops/probe-listener.js';
import { relayMetrics } from './ops/relay-metrics.js';
import { relayStatus } from './ops/relay-snapshot.js';
import type { ListenerStatus, RelayState, RelayStatus } from './ops/relay-status.js';
import { lastUses, type TokenEntry, tokenEntry } from './ops/token-report.js';
import { Traces } from './ops/traces.js';
import type { RelayConfig, RelayLimits } from './relay-config.js';
import { ALERTS, type ReloadReport, relayChanges, reloaded } from './relay-reload.js';
import { Claims } from './sessions/claims.js';
import { ProtectedHosts } from './sessions/protected-hosts.js';
import { RememberedHosts } from './sessions/remembered-hosts.js';
import { Routes } from './sessions/routes.js';
import { readServedTunnels, ServedTunnels } from './sessions/served-tunnels.js';
import { Sessions } from './sessions/sessions.js';
import { TokenStore } from './sessions/token-store.js';
import type { TokenWatch } from './sessions/token-watch.js';
import type { Tunnel } from './sessions/tunnel.js';
import { TlsWorkers, workersFor } from './workers/tls-workers.js';

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
  /** Listening sockets that the process was started with. */
  readonly sockets?: ListenSockets;
  /** The command line that starts a TLS worker; without it there are none, whatever the config says. */
  readonly workerCommand?: readonly string[];
}

type EdgeLimits = EdgeOptions['limits'];

interface RelayParts {
  readonly log: Log;
  readonly audit: AuditLog;
  readonly sockets: ListenSockets;
  readonly certificates: RelayCertificates;
  readonly protectedHosts: ProtectedHosts;
  readonly workerCommand: readonly string[] | undefined;
}

export class Relay {
  readonly #log: Log;
  readonly #audit: AuditLog;
  readonly #access: AccessLog;
  readonly #sockets: ListenSockets;
  /** The rooms hold these two for ever, so `reload` changes them in place. */
  readonly #limits: RelayLimits;
  readonly #edgeLimits: EdgeLimits;
  readonly #deadlines = new Deadlines();
  readonly #processMetrics = new ProcessMetrics(this.#deadlines);
  readonly #refusals = new CodeCounts();
  /** Of HTTP requests that lead to no tunnel. */
  readonly #unrouted = new ExchangeMetrics();
  readonly #traces = new Traces();
  readonly #certificates: RelayCertificates;
  readonly #tokens: TokenWatch;
  readonly #routes: Routes;
  readonly #served: ServedTunnels;
  readonly #claims: Claims;
  readonly #sessions: Sessions;
  readonly #visitors: Visitors;
  readonly #edge: Edge;
  readonly #ownSite: OwnSite;
  readonly #tcpPorts: TcpPorts;
  readonly #listeners: Listeners;
  readonly #adminToken: () => Secret | undefined;
  readonly #startedAtMs = Date.now();
  #config: RelayConfig;
  #redirect: Redirect | undefined;
  #admin: AdminListener | undefined;
  #alerts: Alerts | undefined;
  readonly #workerCommand: readonly string[] | undefined;
  #workers: TlsWorkers | undefined;
  #state: RelayState = 'starting';
  #stopping: Promise<void> | undefined;

  private constructor(config: RelayConfig, parts: RelayParts) {
    const { log, audit, sockets, certificates, protectedHosts } = parts;
    const refused = (code: ErrorCode) => this.#refusals.count(code);
    const access = new AccessLog(config.accessLog, log);
    const carried: OnCarried = (record, visitor, tunnel) =>
      access.carried(record, { visitor: visitor.address, tunnel: tunnel.name, public: tunnel.address });
    const limits: RelayLimits = { ...config.limits };
    this.#config = config;
    this.#log = log;
    this.#audit = audit;
    this.#access = access;
    this.#sockets = sockets;
    this.#workerCommand = parts.workerCommand;
    this.#limits = limits;
    this.#edgeLimits = edgeLimits(limits);
    this.#certificates = certificates;
    this.#adminToken = adminTokenReader(config.stateDir, log);
    this.#tokens = TokenStore.open(config.stateDir).watch({
      onChange: () => this.#onTokensChanged(),
      onProblem: (problem) => log.error({ code: problem.code, reason: problem.message }, 'token file cannot be used'),
    });
    this.#routes = new Routes({
      limits,
      onOffline: (tunnel) => this.#onOffline(tunnel),
      onServed: () => this.#served.changed(),
    });
    this.#served = new ServedTunnels({ stateDir: config.stateDir, log, tunnels: () => this.#routes.tunnels });
    this.#sessions = new Sessions({
      relay: config.domain,
      limits,
      log,
      audit: audit.record,
      token: (id) => this.#tokens.find(id),
      claim: (session, claim) => this.#claims.decide(session, claim),
      probe: (session, probe) => this.#claims.probe(session, probe),
      watch: async (session, { id, host }) => {
        this.#claims.checkGranted(session, { host, tcpPort: undefined });
        return this.#traces.watch(id, host, session.owner.tokenId);
      },
      refused,
    });
    const { trustedProxies, proxyProtocol } = config;
    this.#visitors = new Visitors({ deadlines: this.#deadlines, trustedProxies, proxyProtocol, limits });
    const { isTrusted } = this.#visitors;
    this.#ownSite = new OwnSite({
      limits: this.#edgeLimits,
      deadlines: this.#deadlines,
      domain: config.domain,
      isTrusted,
      onLink: (link, closed, address, elsewhere) => void this.#sessions.accept(link, closed, address, elsewhere),
      refused,
    });
    this.#edge = new Edge({
      domain: config.domain,
      routes: this.#routes,
      certificates: certificates.source,
      isProtected: (hostname) => protectedHosts.covers(hostname),
      challengeContextFor: certificates.challengeContextFor,
      visitors: this.#visitors,
      deadlines: this.#deadlines,
      limits: this.#edgeLimits,
      traces: this.#traces,
      http2: offersHttp2(config.http2),
      hsts: config.hsts,
      log,
      handOver: (socket, handshake) => this.#workers?.accept(socket, handshake) ?? false,
      onOwnSite: (socket, visitor, exporter) => this.#ownSite.accept(socket, visitor, exporter),
      refused,
      exchanged: (record, visitor, tunnel) => {
        (tunnel?.exchanges ?? this.#unrouted).note(record);
        const host = record.request?.hostname ?? '';
        access.exchanged(record, { visitor: visitor.address, tunnel: tunnel?.name ?? '', public: host });
      },
      carried,
    });
    this.#tcpPorts = new TcpPorts({
      host: config.listen.tcpHost,
      visitors: this.#visitors,
      deadlines: this.#deadlines,
      limits,
      given: (name) => sockets.take(name),
      log,
      refused,
      carried,
    });
    this.#claims = new Claims({
      domain: config.domain,
      publicPort: () => this.#config.publicPort,
      limits,
      tokens: this.#tokens,
      routes: this.#routes,
      remembered: new RememberedHosts(config.stateDir),
      protectedHosts,
      certificates,
      tcpPorts: this.#tcpPorts,
      served: readServedTunnels(config.stateDir),
      log,
    });
    this.#listeners = new Listeners({ rooms: this.#listeningRooms, sockets, log });
  }

  /**
   * Starts a relay; it accepts connections when this resolves, from `sockets` where they have one of the right name.
   * Rejects with CONFIG_INVALID, and nothing is left open then.
   */
  static async start(config: RelayConfig, log: Log, options: RelayOptions = {}): Promise<Relay> {
    const protectedHosts = ProtectedHosts.open(config.stateDir);
    await refuseUnwritableLogs(config);
    let relay: Relay | undefined;
    const isWanted = (hostname: string, hasCertificate: boolean) =>
      relay === undefined || relay.#wantsCertificate(hostname, hasCertificate);
    const audit = new AuditLog({ ...config.auditLog, log });
    const onIssued = ({ hostname, issuer, notAfterMs }: IssuedCertificate) =>
      audit.record('certificate-issued', { hostname, issuer, notAfter: new Date(notAfterMs).toISOString() });
    const certificates = await RelayCertificates.open(config, { log, isWanted, onIssued, ...options });
    try {
      const { sockets = new ListenSockets(), workerCommand } = options;
      relay = new Relay(config, { log, audit, sockets, certificates, protectedHosts, workerCommand });
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
      workers: this.#workers?.status,
      refusals: this.#refusals.all,
      lastRefusal: this.#refusals.newest,
      sessions: this.#sessions.all,
      tunnels: this.#routes.tunnels,
      certificates: this.#certificates.list(),
    });
  }

  /** What Prometheus reads, in its text format. */
  metrics(): string {
    return relayMetrics({
      isReady: this.#ready() === true,
      process: this.#processMetrics,
      connections: this.#visitors.count,
      handshakes: this.#edge.handshakes,
      refusals: this.#refusals,
      sessionCounts: this.#sessions.counts,
      sessions: this.#sessions.all,
      tunnels: this.#routes.tunnels,
      unrouted: this.#unrouted,
      certificates: this.#certificates.list(),
      channels: this.#alerts?.channels ?? [],
      lost: { accessLines: this.#access.dropped, auditRecords: this.#audit.lost },
    });
  }

  /**
   * Reads certificate files again (tokens are watched anyway) and takes over all of `wanted` that can change under a running
   * relay; the log's level is the program's.
   * Rejects with CONFIG_INVALID when a log cannot be written, and nothing has changed then, or when a new listener cannot be
   * had; what it listened on before it then still does.
   */
  async reload(wanted: RelayConfig = this.#config): Promise<ReloadReport> {
    const config = reloaded(this.#config, wanted);
    await refuseUnwritableLogs(config);
    const report = relayChanges(this.#config, wanted);
    this.#certificates.reload();
    await this.#listeners.listen(wanted.listen);
    this.#config = config;
    Object.assign(this.#limits, config.limits);
    Object.assign(this.#edgeLimits, edgeLimits(config.limits));
    this.#visitors.trust(config);
    this.#edge.demandHttps(config.hsts);
    this.#edge.offerHttp2(offersHttp2(config.http2));
    this.#access.configure(config.accessLog);
    this.#audit.configure(config.auditLog);
    // What waits to be delivered, and what is counted against flapping, outlives a reload that does not touch it.
    if (this.#state === 'running' && report.applied.includes(ALERTS)) this.#openAlerts();
    this.#audit.record('config-reloaded', { applied: report.applied, waiting: report.waiting });
    this.#log.info({ event: 'reloaded', applied: report.applied, waiting: report.waiting }, 'configuration reloaded');
    return report;
  }

  /** A config file that could not be taken over. */
  refuseReload(code: ErrorCode, reason: string): void {
    this.#audit.record('config-refused', { code, reason });
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
    this.#served.close();
    this.#log.info({ streams: this.#sessions.streamCount, ms: this.#config.drainMs }, 'relay draining');
    this.#edge.drain();
    this.#ownSite.drain();
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
    const visitors = this.#edge.busyCount + this.#ownSite.busyCount + (this.#redirect?.busyCount ?? 0);
    return this.#sessions.streamCount + visitors + (this.#workers?.busyCount ?? 0);
  }

  /** Ends everything now. Safe in any state, any number of times. */
  close(): Promise<void> {
    this.#stopping ??= this.#close();
    return this.#stopping;
  }

  async #close(): Promise<void> {
    this.#alerts?.close();
    this.#served.close();
    this.#traces.close();
    this.#sessions.close();
    this.#routes.close();
    this.#tokens.close();
    this.#certificates.close();
    this.#ownSite.close();
    const closed = [this.#edge.close(), this.#tcpPorts.close(), this.#redirect?.close(), this.#admin?.close()];
    this.#visitors.close();
    // A worker that hangs would hold up the edge, which waits for the sockets that it has.
    closed.push(this.#workers?.close());
    await Promise.all(closed);
    this.#deadlines.close();
    this.#sockets.close();
    if (this.#state !== 'starting') this.#audit.record('relay-stopped', { pid: process.pid });
    await Promise.all([this.#audit.close(), this.#access.close()]);
    this.#state = 'stopped';
    this.#log.info({ event: 'stopped' }, 'relay stopped');
  }

  async #listen(): Promise<void> {
    const config = this.#config;
    await this.#certificates.prepareAtStart(config.domain);
    await this.#claims.knowAtStart();
    await this.#startWorkers();
    await this.#listeners.listen(config.listen);
    this.#state = 'running';
    this.#audit.record('relay-started', { domain: config.domain, version: VERSION, pid: process.pid });
    this.#certificates.begin(config.domain);
    this.#openAlerts();
  }

  async #startWorkers(): Promise<void> {
    const count = workersFor(this.#config.workers);
    const command = this.#workerCommand;
    if (count === 0 || command === undefined) return;
    this.#workers = await TlsWorkers.start({
      count,
      command,
      handshakeMs: this.#limits.tlsHandshakeMs,
      deadlines: this.#deadlines,
      log: this.#log,
    });
  }

  /** What is remembered of the alerts before is on disk. */
  #openAlerts(): void {
    const { domain, stateDir, alerts } = this.#config;
    this.#alerts?.close();
    this.#alerts = Alerts.open(alerts, { relay: domain, stateDir, log: this.#log, status: () => this.status() });
  }

  /** What an operator may ask, at the admin listener and by the control socket. */
  adminSubject(): AdminSubject {
    const certificates = this.#certificates;
    return {
      status: () => this.status(),
      metrics: () => this.metrics(),
      ready: () => this.#ready(),
      tokens: () => this.#tokenEntries(),
      devices: () => this.#sessions.devices.all().map(deviceEntry),
      adminToken: this.#adminToken,
      certificates: () => certificates.list(),
      renewCertificate: (hostname) => certificates.renew(hostname),
      forgetTunnel: (address) => this.#claims.forget(address),
      reloadCertificates: () => certificates.reload(),
      watch: (id, host) => this.#traces.watch(id, host, ''),
    };
  }

  #tokenEntries(): TokenEntry[] {
    const uses = lastUses([...this.#routes.tunnels].map(({ service }) => service));
    return this.#tokens.all().map((record) => tokenEntry(record, uses.get(record.name)));
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
          const next = address && (await AdminListener.listen(address, this.adminSubject(), given));
          await this.#admin?.close();
          this.#admin = next;
          if (next !== undefined) this.#warnOfOpenAdmin(next.address);
          return next?.address;
        },
        descriptor: () => this.#admin && descriptorOf(this.#admin.server),
      },
    };
  }

  #warnOfOpenAdmin(address: Address): void {
    if (!isOpenAdmin(address, this.#config.stateDir)) return;
    const fields = { address: formatAddress(address), option: 'listen.admin' };
    this.#log.warn(fields, 'everybody who reaches the admin listener may ask it: do: relay admin-token create');
  }

  #ready(): Readiness {
    if (this.#state !== 'running') return { check: this.#state, reason: `relay is ${this.#state}` };
    const reason = this.#certificates.problemOf(this.#config.domain);
    return reason === undefined ? true : { check: 'certificate', reason };
  }

  #wantsCertificate(hostname: string, hasCertificate: boolean): boolean {
    const { domain, acme } = this.#config;
    const isOurs = hostname === domain || acme.wildcards.includes(hostname);
    return isOurs || this.#claims.isWanted(hostname, hasCertificate);
  }

  #makeRedirect(): Redirect {
    return new Redirect({
      publicPort: () => this.#config.publicPort,
      limits: this.#limits,
      isTrusted: this.#visitors.isTrusted,
      challengeAnswer: (hostname, path) => this.#challengeAnswer(hostname, path),
      isKnown: (hostname) => hostname === this.#config.domain || this.#routes.find(hostname) !== undefined,
    });
  }

  /** Nothing is proven for a name whose TLS moved home while an order of ours ran. */
  #challengeAnswer(hostname: string, path: string): string | undefined {
    const endsHere = (this.#routes.find(hostname)?.tls ?? 'relay') === 'relay';
    return endsHere ? this.#certificates.challengeAnswer(hostname, path) : undefined;
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

/** What the edge calls the limits. */
function edgeLimits(limits: RelayLimits): EdgeLimits {
  return { ...limits, fields: limits.headFields };
}
