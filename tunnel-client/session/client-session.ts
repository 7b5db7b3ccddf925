/**
 * ClientSession: one session with the relay, from its first welcome until its last link is gone. It keeps the wanted
 * number of links open, claims the tunnels, and hands each stream to an OriginConnection.
 *
 *   serving → draining → closed
 *
 * Owns: its links, and timers for links and claims to try again. Owned by: Client.
 */
import type { Deadlines } from '../../shared/deadlines.js';
import { asTunnelError, type ErrorCode, retryOf, TunnelError } from '../../shared/errors.js';
import { DEFAULT_HEARTBEAT } from '../../shared/heartbeat.js';
import type { Link } from '../../shared/link.js';
import { LiveLink } from '../../shared/live-link.js';
import type { Log } from '../../shared/log.js';
import { type Claimed, type Denied, readRelayMessage } from '../../shared/messages.js';
import { WindowBudget } from '../../shared/mux/window-budget.js';
import type { ClientTunnel } from '../client-tunnel.js';
import type { HomeEdge } from '../home/home-edge.js';
import { OriginConnection } from '../origin/origin-connection.js';
import { Backoff } from './backoff.js';
import { claimRetryMs } from './claim-retry.js';
import type { WelcomedLink } from './dial-relay.js';

/** A client trusts its relay with more streams than it will ever open, and with more memory for the fast ones. */
const MAX_STREAMS = 4_096;
const MAX_WINDOW_BYTES = 16 * 1024 * 1024;
const WINDOW_BUDGET_BYTES = 32 * 1024 * 1024;

const HEARTBEAT_LIMITS_MS = { least: 500, most: 30_000 };

export interface ClientSessionOptions {
  readonly links: number;
  readonly dialMs: number;
  readonly deadlines: Deadlines;
  readonly log: Log;
  readonly tunnels: ReadonlyMap<string, ClientTunnel>;
  readonly home: HomeEdge;
  /** Opens one more link of the session with this id. */
  readonly dial: (sessionId: string, signal: AbortSignal) => Promise<WelcomedLink>;
  readonly onUp: (tunnel: ClientTunnel) => void;
  readonly onDenied: (tunnel: ClientTunnel, denied: Denied) => void;
  /** A link is gone. */
  readonly onLinkClosed: (code: ErrorCode) => void;
  /** The last link is gone. */
  readonly onClosed: () => void;
}

export class ClientSession {
  readonly id: string;
  /** Resolves with the reason when the session is over, or when the relay asked the client to come back later. */
  readonly ended: Promise<TunnelError>;
  /** Resolves when the last link is gone. */
  readonly closed: Promise<void>;
  readonly #options: ClientSessionOptions;
  readonly #links = new Set<LiveLink>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #backoff = new Backoff();
  readonly #stop = new AbortController();
  readonly #windowBudget = new WindowBudget(WINDOW_BUDGET_BYTES);
  readonly #wantedLinks: number;
  readonly #heartbeatMs: number;
  #state: 'serving' | 'draining' | 'closed' = 'serving';
  #resolveEnded: (error: TunnelError) => void = () => {};
  #resolveClosed: () => void = () => {};

  constructor({ link, welcome }: WelcomedLink, options: ClientSessionOptions) {
    this.id = welcome.sessionId;
    this.#options = options;
    this.#wantedLinks = Math.min(options.links, Math.max(1, welcome.maxLinks));
    const { least, most } = HEARTBEAT_LIMITS_MS;
    this.#heartbeatMs = Math.min(most, Math.max(least, welcome.heartbeatMs));
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#add(link);
    for (const tunnel of options.tunnels.values()) this.#claim(tunnel);
    for (let extra = 1; extra < this.#wantedLinks; extra += 1) void this.#addLink();
  }

  get links(): ReadonlySet<LiveLink> {
    return this.#links;
  }

  get streamCount(): number {
    let streams = 0;
    for (const link of this.#links) streams += link.streamCount;
    return streams;
  }

  /** The network changed or the machine woke up: find out now which links live. */
  suspect(): void {
    for (const link of this.#links) link.suspect();
  }

  /** Asks for a tunnel that was not among the first ones, or that has changed. */
  claim(tunnel: ClientTunnel): void {
    if (this.#state === 'serving') this.#claim(tunnel);
  }

  /** Gives one tunnel back; its streams go on. */
  release(name: string): void {
    if (this.#state === 'serving') this.#send({ type: 'release', name });
  }

  /** Gives all tunnels back; streams that exist go on. */
  leave(): void {
    if (this.#state !== 'closed') this.#state = 'draining';
    this.#send({ type: 'leave' });
  }

  /** Ends every link and stream now. Safe in any state, any number of times. */
  close(code: ErrorCode, message: string): void {
    this.#end(new TunnelError(code, message));
    for (const link of this.#links) link.close(code, message);
  }

  #add(link: Link): void {
    const live: LiveLink = new LiveLink(link, {
      role: 'client',
      heartbeat: { ...DEFAULT_HEARTBEAT, intervalMs: this.#heartbeatMs },
      maxStreams: MAX_STREAMS,
      maxWindowBytes: MAX_WINDOW_BYTES,
      windowBudget: this.#windowBudget,
      onStream: (stream) => {
        new OriginConnection(stream, { ...this.#options, tunnel: (name) => this.#options.tunnels.get(name) });
      },
      onMessage: (text) => this.#onMessage(live, text),
      onClose: (error) => this.#onLinkClose(live, error),
    });
    this.#links.add(live);
  }

  async #addLink(): Promise<void> {
    const beganAtMs = performance.now();
    try {
      const { link } = await this.#options.dial(this.id, this.#stop.signal);
      if (this.#state === 'closed') link.close('LINK_LOST', 'The session is over');
      else this.#add(link);
    } catch (error) {
      this.#onLinkFailed(asTunnelError(error), performance.now() - beganAtMs);
    }
  }

  #onLinkClose(link: LiveLink, error: TunnelError): void {
    this.#links.delete(link);
    this.#options.onLinkClosed(error.code);
    // Once the session leaves, the end of its links is what was wanted.
    const why = this.#state === 'serving' ? { code: error.code, reason: error.message } : {};
    this.#options.log.info({ ...why, links: this.#links.size }, 'link closed');
    if (this.#links.size === 0 || retryOf(error.code) === 'never') this.#end(error);
    if (this.#links.size === 0) this.#onAllClosed();
    else this.#onLinkFailed(error, link.openForMs);
  }

  #onAllClosed(): void {
    this.#resolveClosed();
    this.#options.onClosed();
  }

  /** One link of several: the session goes on and tries to get it back, unless the relay has forgotten the session. */
  #onLinkFailed(error: TunnelError, servedMs: number): void {
    if (this.#state !== 'serving') return;
    if (error.code === 'SESSION_UNKNOWN' || retryOf(error.code) === 'never') {
      this.close(error.code, error.message);
      return;
    }
    const delayMs = this.#backoff.next(error, servedMs);
    this.#options.log.debug(
      { code: error.code, reason: error.message, ms: Math.round(delayMs) },
      'link will be replaced',
    );
    this.#later(delayMs, () => void this.#addLink());
  }

  #end(error: TunnelError): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#stop.abort();
    for (const timer of this.#timers) clearTimeout(timer);
    for (const link of this.#links) if (retryOf(error.code) === 'never') link.close(error.code, error.message);
    this.#resolveEnded(error);
  }

  #later(delayMs: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, delayMs);
    this.#timers.add(timer);
  }

  #claim(tunnel: ClientTunnel): void {
    const { name, host, tcpPort, tls } = tunnel.spec;
    tunnel.state = 'claiming';
    // Where TLS does not end there, the relay has no request to apply these to.
    const { hostHeader, responseTimeoutMs } = tls === 'relay' ? tunnel.spec : {};
    this.#send({ type: 'claim', name, host, tcpPort, hostHeader, responseTimeoutMs, tls });
  }

  #send(message: object): void {
    for (const link of this.#links) {
      link.sendMessage(message);
      return;
    }
  }

  #onMessage(link: LiveLink, text: string): void {
    try {
      this.#obey(text);
    } catch (error) {
      const { code, message } = asTunnelError(error);
      link.close(code, message);
    }
  }

  #obey(text: string): void {
    const message = readRelayMessage(text);
    if (message.type === 'claimed') this.#onClaimed(message);
    else if (message.type === 'denied') this.#onDenied(message);
    else if (message.type === 'drain') this.#onDrain(message.reconnectInMs);
    else throw new TunnelError('PROTOCOL_VIOLATION', `Cannot go on: unexpected message ${message.type}`);
  }

  #onClaimed({ name, url, tls }: Claimed): void {
    const tunnel = this.#options.tunnels.get(name);
    if (tunnel === undefined) return;
    if (tls !== tunnel.spec.tls) {
      // A relay that knows no better would end the visitor's TLS itself.
      this.#send({ type: 'release', name });
      const message = `Cannot serve ${url}: its relay does not understand tls: ${tunnel.spec.tls}. Update the relay.`;
      this.#onDenied({ type: 'denied', name, code: 'VERSION_UNSUPPORTED', message });
      return;
    }
    tunnel.state = 'online';
    tunnel.denials = 0;
    tunnel.url = url;
    this.#options.onUp(tunnel);
  }

  #onDenied(denied: Denied): void {
    const tunnel = this.#options.tunnels.get(denied.name);
    if (tunnel === undefined) return;
    tunnel.state = 'denied';
    tunnel.denials += 1;
    tunnel.fail(denied.code, denied.message);
    this.#options.onDenied(tunnel, denied);
    if (retryOf(denied.code) === 'never') return;
    this.#later(claimRetryMs(denied, tunnel.denials), () => {
      // It may have been given up or claimed anew since.
      const isWanted = this.#options.tunnels.get(denied.name) === tunnel && tunnel.state === 'denied';
      if (this.#state === 'serving' && isWanted) this.#claim(tunnel);
    });
  }

  /** The relay stops: streams go on here, and the client begins a new session. */
  #onDrain(reconnectInMs: number): void {
    if (this.#state !== 'serving') return;
    this.#state = 'draining';
    this.#resolveEnded(
      new TunnelError('RELAY_DRAINING', 'The relay is restarting', { retryInMs: Math.min(reconnectInMs, 60_000) }),
    );
  }
}
