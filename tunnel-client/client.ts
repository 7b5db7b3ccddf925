/**
 * Client: keeps a session with the relay for as long as it runs (the supervisor of architecture §7). It decides when to
 * try again and when to give up; how long to wait is Backoff's.
 *
 *   stopped → connecting → handshaking → serving → waiting → connecting …
 *   failed (a refusal that no retry can cure)         stopping → stopped
 *
 * Owns: the session, the tunnels, the clock of deadlines, the network watch, the home edge. Owned by: the verb `tunnel up`.
 * The one door of p-retry.
 */

import pRetry from 'p-retry';
import { AccessLog } from '../shared/access-log/access-log.js';
import { Deadlines } from '../shared/deadlines.js';
import { asTunnelError, type ErrorCode, retryOf, type TunnelError } from '../shared/errors.js';
import { offersHttp2 } from '../shared/http2/http2-mode.js';
import type { Log } from '../shared/log.js';
import type { Denied } from '../shared/messages.js';
import { CodeCounts } from '../shared/metrics/code-counts.js';
import { ProcessMetrics } from '../shared/metrics/process-metrics.js';
import { parseToken, type Token } from '../shared/token.js';
import { VERSION } from '../shared/version.js';
import { ClientTunnel } from './client-tunnel.js';
import { type ConfigChanges, configChanges, withChanges } from './config-changes.js';
import { waitsForCertificate } from './home/certificate-text.js';
import { HomeEdge } from './home/home-edge.js';
import type { HomeSiteHost } from './home/home-site.js';
import { type ClientCounts, clientMetrics } from './ops/client-metrics.js';
import type {
  CertificateNews,
  ClientState,
  ClientStatus,
  ConfigStatus,
  LastError,
  LinkStatus,
} from './ops/client-status.js';
import { Backoff } from './session/backoff.js';
import { ClientSession } from './session/client-session.js';
import { dialRelay, type WelcomedLink } from './session/dial-relay.js';
import { NetworkWatch } from './session/network-watch.js';
import type { TunnelConfig } from './tunnel-config.js';

/** How often a stopping client looks whether its last stream has ended. */
const DRAIN_POLL_MS = 50;

/** The longest that a client waits for its next attempt: what a relay may ask for, and what Backoff adds. */
const MAX_WAIT_MS = 90_000;
/** What stands still for so long beyond its own deadline will not move by itself. */
const STANDSTILL_MS = 15_000;

/** Who wants to know what happens. */
export interface ClientEvents {
  /** The relay serves it; `waitsForCertificate`: visitors are turned away here for as long. */
  up(tunnel: { name: string; url: string; origin: string; waitsForCertificate?: true }): void;
  denied(denied: { name: string; code: ErrorCode; message: string }): void;
  /** Without a failure when that was asked for. */
  down(tunnel: { name: string; url: string; code?: ErrorCode; message?: string }): void;
  /** The certificate of an end-to-end tunnel was ordered, came, or did not. */
  certificate(event: { name: string } & CertificateNews): void;
  reconnecting(failure: { code: ErrorCode; message: string; retryInMs: number }): void;
  /** Anything that a status line would show has changed. */
  changed(): void;
}

export interface ClientOptions {
  readonly config: TunnelConfig;
  readonly clientId: string;
  /** Gives up when the first attempt to reach the relay fails. */
  readonly once: boolean;
  readonly log: Log;
  /** Gets what `events` are told too: another one than `log` where both reach the same reader. */
  readonly eventLog?: Log;
  readonly events: ClientEvents;
}

export class Client {
  /** `apply` replaces the config in it. */
  #options: ClientOptions;
  readonly #token: Token;
  readonly #tunnels = new Map<string, ClientTunnel>();
  readonly #deadlines = new Deadlines();
  readonly #processMetrics = new ProcessMetrics(this.#deadlines);
  readonly #counts: ClientCounts = {
    reconnects: new CodeCounts(),
    linksClosed: new CodeCounts(),
    handshakes: { done: 0, failed: 0 },
  };
  readonly #network: NetworkWatch;
  readonly #access: AccessLog;
  #home: HomeEdge;
  /** Of earlier configs, until their visitors are done. */
  readonly #oldHomes = new Map<HomeEdge, NodeJS.Timeout>();
  readonly #backoff = new Backoff();
  readonly #stop = new AbortController();
  readonly #startedAtMs = performance.now();
  /** The newest session, and older ones whose streams still run while their relay drains. */
  readonly #sessions = new Set<ClientSession>();
  #session: ClientSession | undefined;
  #state: ClientState = 'stopped';
  #stateAtMs = performance.now();
  #servedMs = 0;
  #sessionCount = 0;
  #retryAtMs: number | undefined;
  #lastError: LastError | undefined;
  #configStatus: ConfigStatus = { waiting: [] };

  /** Throws TOKEN_REJECTED for a token that is none, CONFIG_INVALID for a certificate that cannot serve its tunnel. */
  constructor(options: ClientOptions) {
    this.#options = options;
    this.#token = parseToken(options.config.token);
    for (const spec of options.config.tunnels) this.#tunnels.set(spec.name, new ClientTunnel(spec));
    this.#access = new AccessLog(options.config.accessLog, options.log);
    this.#home = this.#openHome(this.#tunnels.values());
    this.#network = new NetworkWatch(() => this.#onNetworkChanged());
  }

  /**
   * Serves until it is stopped. Rejects with the code of a refusal that no retry can cure (TOKEN_REJECTED, NOT_GRANTED
   * for every tunnel, VERSION_UNSUPPORTED, SESSION_REPLACED), and with LINK_LOST when `once` is set.
   */
  async run(): Promise<void> {
    try {
      await pRetry(() => this.#serve(), {
        retries: Number.POSITIVE_INFINITY,
        // The rule is ours: p-retry's own delays start anew with each call and are no full jitter.
        minTimeout: 0,
        factor: 1,
        signal: this.#stop.signal,
        shouldRetry: ({ error }) => this.#mayRetry(asTunnelError(error)),
        onFailedAttempt: ({ error }) => this.#wait(asTunnelError(error)),
      });
    } catch (error) {
      // A relay that is lost while we drain has nothing left to finish.
      if (this.#state === 'stopping' || this.#stop.signal.aborted) return;
      this.#setState('failed');
      throw asTunnelError(error);
    } finally {
      await this.#goodBye();
      this.#release();
      await this.#access.close();
    }
  }

  status(): ClientStatus {
    return {
      state: this.#state,
      relay: this.#options.config.relayUrl.host,
      version: VERSION,
      pid: process.pid,
      uptimeMs: performance.now() - this.#startedAtMs,
      sessionId: this.#session?.id,
      links: [...(this.#session?.links ?? [])].map((link): LinkStatus => {
        return { rttMs: link.rttMs || undefined, streams: link.streamCount, openForMs: link.openForMs };
      }),
      tunnels: [...this.#tunnels.values()].map((tunnel) => tunnel.status(this.#home.certificateOf(tunnel))),
      retryInMs: this.#retryAtMs === undefined ? undefined : Math.max(0, this.#retryAtMs - performance.now()),
      config: this.#configStatus,
      reconnects: Math.max(0, this.#sessionCount - 1),
      lastError: this.#lastError,
    };
  }

  /** What Prometheus reads, in its text format. */
  metrics(): string {
    return clientMetrics({
      status: this.status(),
      counts: this.#counts,
      tunnels: this.#tunnels.values(),
      process: this.#processMetrics,
      droppedLines: this.#access.dropped,
    });
  }

  /** The config file as it is now cannot be taken over; what runs stays. */
  refuseConfig({ code, message }: TunnelError): void {
    this.#configStatus = { ...this.#configStatus, problem: { code, message, atMs: Date.now() } };
    this.#options.events.changed();
  }

  /**
   * Takes over all of `wanted` that can change under a running client: only tunnels that have changed are claimed or given
   * back. Throws CONFIG_INVALID for a certificate that cannot serve its tunnel, and then nothing has changed.
   */
  apply(wanted: TunnelConfig): ConfigChanges {
    const changes = configChanges(this.#options.config, wanted);
    const running = this.#options;
    const tunnels = new Map(this.#tunnels);
    for (const spec of wanted.tunnels) tunnels.set(spec.name, this.#tunnels.get(spec.name) ?? new ClientTunnel(spec));
    this.#options = { ...running, config: withChanges(running.config, wanted) };
    try {
      changeSpecs(tunnels, wanted);
      if (changes.isHomeTlsChanged) this.#replaceHome(wanted.tunnels.flatMap(({ name }) => tunnels.get(name) ?? []));
    } catch (error) {
      this.#options = running;
      changeSpecs(tunnels, running.config);
      throw error;
    }
    this.#giveBack(changes.release, new Set(wanted.tunnels.map(({ name }) => name)));
    for (const spec of changes.claim) this.#claim(spec.name, tunnels.get(spec.name));
    this.#access.configure(this.#options.config.accessLog);
    this.#configStatus = { waiting: changes.waiting };
    this.#options.events.changed();
    return changes;
  }

  /** Rejects when it neither serves nor tries to, with the state in which it stands still. */
  async probe(): Promise<void> {
    const { dialMs } = this.#options.config;
    const limits: Partial<Record<ClientState, number>> = {
      connecting: dialMs + STANDSTILL_MS,
      handshaking: dialMs + STANDSTILL_MS,
      waiting: MAX_WAIT_MS + STANDSTILL_MS,
    };
    const ms = performance.now() - this.#stateAtMs;
    if (ms > (limits[this.#state] ?? Number.POSITIVE_INFINITY))
      throw new Error(`${this.#state} for ${ms.toFixed(0)} ms`);
  }

  /** Gives the tunnels back, lets streams finish for `drainMs`, then ends. `run` returns after that. */
  async drain(): Promise<void> {
    if (this.#state === 'stopping' || this.#stop.signal.aborted) return;
    this.#setState('stopping');
    this.#session?.leave();
    this.#home.drain();
    const untilMs = performance.now() + this.#options.config.drainMs;
    while (this.#streamCount() > 0 && performance.now() < untilMs && !this.#stop.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
    this.close();
  }

  /** Ends now. Safe in any state, any number of times. */
  close(): void {
    this.#setState('stopping');
    this.#stop.abort();
    for (const session of this.#sessions) {
      session.leave();
      session.close('LINK_LOST', 'The client is stopping');
    }
  }

  get #eventLog(): Log {
    return this.#options.eventLog ?? this.#options.log;
  }

  #streamCount(): number {
    let streams = 0;
    for (const session of this.#sessions) streams += session.streamCount;
    return streams;
  }

  /** A program that ends before its relay has heard why leaves its hostnames held. Links give their peer CLOSE_MS. */
  async #goodBye(): Promise<void> {
    for (const session of this.#sessions) session.close('LINK_LOST', 'The client is stopping');
    await Promise.all([...this.#sessions].map((session) => session.closed));
  }

  #giveBack(names: readonly string[], stay: ReadonlySet<string>): void {
    for (const name of names) {
      const tunnel = this.#tunnels.get(name);
      if (tunnel === undefined) continue;
      this.#session?.release(name);
      if (!stay.has(name)) this.#tunnels.delete(name);
      if (tunnel.state === 'online') this.#options.events.down({ name, url: tunnel.url });
      tunnel.state = 'offline';
    }
  }

  #claim(name: string, tunnel: ClientTunnel | undefined): void {
    if (tunnel === undefined) return;
    this.#tunnels.set(name, tunnel);
    this.#session?.claim(tunnel);
  }

  /** Visitors of the old one finish what they do, as when the client stops. */
  #replaceHome(tunnels: Iterable<ClientTunnel>): void {
    const old = this.#home;
    this.#home = this.#openHome(tunnels);
    old.drain();
    for (const tunnel of this.#tunnels.values()) if (tunnel.state === 'online') this.#home.up(tunnel);
    const ending = setTimeout(() => {
      this.#oldHomes.delete(old);
      old.close();
    }, this.#options.config.drainMs);
    this.#oldHomes.set(old, ending);
  }

  #release(): void {
    this.#network.stop();
    this.#home.close();
    for (const [home, timer] of this.#oldHomes) {
      clearTimeout(timer);
      home.close();
    }
    this.#deadlines.close();
    if (this.#state !== 'failed') this.#setState('stopped');
  }

  /** Throws CONFIG_INVALID for a certificate that cannot serve its tunnel. */
  #openHome(tunnels: Iterable<ClientTunnel>): HomeEdge {
    const { config, log } = this.#options;
    const { dialMs, acme, stateDir } = config;
    const onCertificate = (tunnel: ClientTunnel, news: CertificateNews) => this.#onCertificate(tunnel, news);
    const exchanged: HomeSiteHost['exchanged'] = (record, visitor, tunnel) => {
      const { spec } = tunnel;
      tunnel.exchanges.note(record);
      this.#access.exchanged(record, {
        visitor,
        tunnel: spec.name,
        public: record.request?.hostname ?? spec.host ?? '',
      });
    };
    const http2 = offersHttp2(config.http2);
    const { handshakes } = this.#counts;
    const options = {
      deadlines: this.#deadlines,
      dialMs,
      http2,
      acme,
      stateDir,
      log,
      onCertificate,
      exchanged,
      handshakes,
    };
    try {
      return HomeEdge.open(tunnels, options);
    } catch (error) {
      if (this.#state === 'stopped') this.#deadlines.close();
      throw error;
    }
  }

  /** One session from its dial to its end; always throws the reason of the end. */
  async #serve(): Promise<never> {
    this.#servedMs = 0;
    this.#retryAtMs = undefined;
    this.#setState('connecting');
    const welcomed = await this.#dial('', this.#stop.signal, () => this.#setState('handshaking'));
    const beganAtMs = performance.now();
    const session = this.#begin(welcomed);
    this.#setState('serving');
    const error = await session.ended;
    this.#servedMs = performance.now() - beganAtMs;
    this.#onSessionEnded(session, error);
    throw error;
  }

  #begin(welcomed: WelcomedLink): ClientSession {
    const { config, log } = this.#options;
    const currentHome = () => this.#home;
    const session: ClientSession = new ClientSession(welcomed, {
      links: config.links,
      dialMs: config.dialMs,
      deadlines: this.#deadlines,
      log,
      tunnels: this.#tunnels,
      get home() {
        return currentHome();
      },
      dial: (sessionId, signal) => this.#dial(sessionId, signal),
      onUp: (tunnel) => this.#onUp(tunnel),
      onDenied: (tunnel, denied) => this.#onDenied(session, tunnel, denied),
      onLinkClosed: (code) => this.#counts.linksClosed.count(code),
      onClosed: () => this.#sessions.delete(session),
    });
    this.#session = session;
    this.#sessions.add(session);
    this.#sessionCount += 1;
    log.info({ session: session.id, relay: config.relayUrl.host }, 'session began');
    return session;
  }

  #dial(sessionId: string, signal: AbortSignal, onConnected?: () => void): Promise<WelcomedLink> {
    const { config, clientId } = this.#options;
    const token = this.#token;
    return dialRelay({ config, token, clientId, sessionId, signal, ...(onConnected ? { onConnected } : {}) });
  }

  #onUp(tunnel: ClientTunnel): void {
    const { name, origin } = tunnel.spec;
    this.#eventLog.info({ tunnel: name, public: tunnel.url, origin: origin.text }, 'tunnel up');
    const waits = waitsForCertificate(this.#home.certificateOf(tunnel), Date.now());
    this.#options.events.up({
      name,
      url: tunnel.url,
      origin: origin.text,
      ...(waits ? { waitsForCertificate: true } : {}),
    });
    this.#options.events.changed();
    this.#home.up(tunnel);
  }

  #onCertificate({ spec: { name } }: ClientTunnel, news: CertificateNews): void {
    this.#options.events.certificate({ name, ...news });
    this.#options.events.changed();
  }

  /** When the token grants none of the tunnels there is nothing to wait for. */
  #onDenied(session: ClientSession, tunnel: ClientTunnel, denied: Denied): void {
    const { name, code, message } = denied;
    this.#eventLog.warn({ tunnel: name, code, reason: message }, 'claim denied');
    this.#options.events.denied({ name, code, message });
    this.#options.events.changed();
    const hopeless = [...this.#tunnels.values()].every((other) => {
      const newest = other.status().lastError?.code;
      return other.state === 'denied' && newest !== undefined && retryOf(newest) === 'never';
    });
    if (hopeless && tunnel.state === 'denied') session.close(code, message);
  }

  #onSessionEnded(session: ClientSession, error: TunnelError): void {
    if (this.#session === session) this.#session = undefined;
    const { code, message } = error;
    // An end that was asked for is no failure.
    const isAsked = this.#state === 'stopping';
    this.#options.log.info({ session: session.id, ...(isAsked ? {} : { code, reason: message }) }, 'session ended');
    const failure = isAsked ? {} : { code, message };
    for (const tunnel of this.#tunnels.values()) {
      if (tunnel.state !== 'online') continue;
      tunnel.state = 'offline';
      this.#options.events.down({ name: tunnel.spec.name, url: tunnel.url, ...failure });
    }
  }

  #mayRetry(error: TunnelError): boolean {
    if (this.#state === 'stopping' || this.#stop.signal.aborted || retryOf(error.code) === 'never') return false;
    return !(this.#options.once && this.#sessionCount === 0);
  }

  /** Between two attempts. p-retry asks for this before it asks `shouldRetry`. */
  async #wait(error: TunnelError): Promise<void> {
    this.#lastError = { code: error.code, message: error.message, atMs: Date.now() };
    if (!this.#mayRetry(error)) return;
    this.#counts.reconnects.count(error.code);
    const delayMs = this.#backoff.next(error, this.#servedMs);
    this.#retryAtMs = performance.now() + delayMs;
    this.#setState('waiting');
    const { code, message } = error;
    const what = this.#servedMs > 0 ? 'relay lost, will try again' : 'cannot reach the relay, will try again';
    this.#eventLog.warn({ code, reason: message, ms: Math.round(delayMs) }, what);
    this.#options.events.reconnecting({ code, message, retryInMs: Math.round(delayMs) });
    await sleep(delayMs, this.#stop.signal);
  }

  #onNetworkChanged(): void {
    this.#options.log.info({}, 'network changed');
    for (const session of this.#sessions) session.suspect();
  }

  #setState(state: ClientState): void {
    if (this.#state === 'stopping' && state !== 'stopped') return;
    this.#state = state;
    this.#stateAtMs = performance.now();
    this.#options.events.changed();
  }
}

function changeSpecs(tunnels: ReadonlyMap<string, ClientTunnel>, { tunnels: specs }: TunnelConfig): void {
  for (const spec of specs) tunnels.get(spec.name)?.change(spec);
}

/** Resolves after `ms`, or at once when the signal aborts. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
