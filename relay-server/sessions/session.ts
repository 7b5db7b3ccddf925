/**
 * Session: one authenticated client with its links. It lives as long as one of its links lives, and decides which link
 * a new stream takes and what becomes of its tunnels when the last link is gone.
 *
 *   ready → draining → closed        (handshaking happens before there is a session: handshake.ts)
 *
 * Owns: its links. Its tunnels belong to Routes; it gives them back when it ends. Owned by: Sessions.
 */
import { asTunnelError, type ErrorCode, TunnelError } from '../../shared/errors.js';
import { DEFAULT_HEARTBEAT } from '../../shared/heartbeat.js';
import { parseAuthority } from '../../shared/http/authority.js';
import type { Link } from '../../shared/link.js';
import { LiveLink } from '../../shared/live-link.js';
import type { Log } from '../../shared/log.js';
import { type Claim, type Probe, readClientMessage, type Watch, type WatchedRequest } from '../../shared/messages.js';
import type { MuxStream } from '../../shared/mux/stream.js';
import { WindowBudget } from '../../shared/mux/window-budget.js';
import { isTunnelName } from '../../shared/opening.js';
import { shortened } from '../../shared/printable.js';
import type { Audit } from '../ops/audit/audit-log.js';
import type { Tunnel } from './tunnel.js';

/** What a control message takes: what a CA said may be longer. */
const MAX_REASON = 1_024;

/** Whose session it is. */
export interface SessionOwner {
  readonly tokenId: string;
  /** The token's name, for people. */
  readonly tokenName: string;
  /** Which installation; '' stands for any client of the token. */
  readonly clientId: string;
}

export interface SessionLimits {
  readonly streamsPerSession: number;
  readonly linksPerSession: number;
  readonly tunnelsPerSession: number;
  readonly streamWindowBytes: number;
  readonly sessionWindowBytes: number;
}

/** What a session needs of the relay. */
export interface SessionHost {
  readonly limits: SessionLimits;
  readonly log: Log;
  readonly audit: Audit;
  /** Finds, checks and prepares the tunnel for a claim. Rejects with NOT_GRANTED, HOSTNAME_TAKEN, PORT_TAKEN … */
  claim(session: Session, claim: Claim): Promise<{ tunnel: Tunnel; url: string }>;
  /** Throws what a claim like this one would be denied with. */
  probe(session: Session, probe: Probe): void;
  /** Resolves with how the announced request fared. Rejects with NOT_GRANTED or LIMIT_EXCEEDED. */
  watch(session: Session, watch: Watch): Promise<Omit<WatchedRequest, 'type' | 'id'>>;
  /** A link of a session is gone. */
  linkClosed(code: ErrorCode): void;
  /** The session is over, for this reason; called once. */
  closed(session: Session, code: ErrorCode): void;
}

/** Requests that one session may follow at a time, so that no token keeps the others from it. */
const MAX_WATCHES = 4;

export class Session {
  readonly id: string;
  readonly owner: SessionOwner;
  /** The address of the link that began it. */
  readonly clientAddress: string;
  /** How much memory grown windows may take, and how much they do. */
  readonly windowBudget: WindowBudget;
  readonly #host: SessionHost;
  readonly #log: Log;
  readonly #links = new Set<LiveLink>();
  /** By the client's name for each. */
  readonly #tunnels = new Map<string, Tunnel>();
  /** Claims that are being decided, by the same names; of one name the newest counts. */
  readonly #claims = new Map<string, Claim>();
  readonly #beganAtMs = performance.now();
  #state: 'ready' | 'draining' | 'closed' = 'ready';
  #left = false;
  #watches = 0;

  constructor(id: string, owner: SessionOwner, clientAddress: string, host: SessionHost) {
    this.id = id;
    this.owner = owner;
    this.clientAddress = clientAddress;
    this.#host = host;
    this.windowBudget = new WindowBudget(host.limits.sessionWindowBytes);
    this.#log = host.log.child({ session: id, tokenName: owner.tokenName });
  }

  get state(): 'ready' | 'draining' | 'closed' {
    return this.#state;
  }

  get links(): ReadonlySet<LiveLink> {
    return this.#links;
  }

  /** The shortest round trip among its links, in milliseconds; 0 until one is known. */
  get rttMs(): number {
    const known = [...this.#links].map((link) => link.rttMs).filter((ms) => ms > 0);
    return known.length === 0 ? 0 : Math.min(...known);
  }

  get openForMs(): number {
    return performance.now() - this.#beganAtMs;
  }

  /** Whether one more link may join. Throws LIMIT_EXCEEDED or SESSION_UNKNOWN. */
  checkJoining(): void {
    if (this.#state !== 'ready') throw new TunnelError('SESSION_UNKNOWN', `Cannot join session: it is ${this.#state}`);
    if (this.#links.size >= this.#host.limits.linksPerSession) {
      throw new TunnelError('LIMIT_EXCEEDED', `Cannot join session: it has ${this.#links.size} links already`);
    }
  }

  /** One more link. Throws as `checkJoining`. */
  addLink(link: Link): void {
    this.checkJoining();
    const { limits } = this.#host;
    const live: LiveLink = new LiveLink(link, {
      role: 'relay',
      heartbeat: DEFAULT_HEARTBEAT,
      maxStreams: limits.streamsPerSession,
      maxWindowBytes: limits.streamWindowBytes,
      windowBudget: this.windowBudget,
      onMessage: (text) => this.#onMessage(live, text),
      onClose: (error) => this.#onLinkClose(live, error),
    });
    this.#links.add(live);
    this.#log.debug({ links: this.#links.size }, 'link joined session');
  }

  /** A stream on the least loaded link. Throws LINK_LOST or LIMIT_EXCEEDED. */
  openStream(): MuxStream {
    let best: LiveLink | undefined;
    let streams = 0;
    for (const link of this.#links) {
      streams += link.streamCount;
      if (link.accepting && (best === undefined || link.load < best.load)) best = link;
    }
    if (streams >= this.#host.limits.streamsPerSession) {
      throw new TunnelError('LIMIT_EXCEEDED', `Cannot open stream: the session has ${streams} already`);
    }
    if (best === undefined) throw new TunnelError('LINK_LOST', 'Cannot open stream: no link of the session takes one');
    return best.openStream();
  }

  /** Tells the client to come back later; its streams go on until they end. */
  drain(reconnectInMs: number): void {
    if (this.#state !== 'ready') return;
    this.#state = 'draining';
    for (const link of this.#links) link.sendMessage({ type: 'drain', reconnectInMs });
  }

  /** Streams open on all links. */
  get streamCount(): number {
    let streams = 0;
    for (const link of this.#links) streams += link.streamCount;
    return streams;
  }

  /** Ends it now, telling the client why. Its tunnels are held unless the code is final. Safe in any state. */
  close(code: ErrorCode, message: string, keepHeld = false): void {
    if (this.#state === 'closed') return;
    this.#left ||= !keepHeld;
    this.#end(new TunnelError(code, message));
    for (const link of this.#links) link.close(code, message);
  }

  #onLinkClose(link: LiveLink, error: TunnelError): void {
    this.#links.delete(link);
    this.#host.linkClosed(error.code);
    this.#log.info({ code: error.code, reason: error.message, links: this.#links.size }, 'link closed');
    if (this.#links.size === 0) this.#end(error);
  }

  #end(error: TunnelError): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    for (const tunnel of this.#tunnels.values()) this.#giveBack(tunnel);
    this.#tunnels.clear();
    this.#claims.clear();
    this.#host.closed(this, error.code);
    this.#log.info({ code: error.code, reason: error.message }, 'session ended');
  }

  #giveBack(tunnel: Tunnel): void {
    if (tunnel.session !== this) return;
    if (this.#left) tunnel.release();
    else tunnel.hold(this);
  }

  #onMessage(link: LiveLink, text: string): void {
    try {
      this.#obey(link, text);
    } catch (error) {
      const { code, message } = asTunnelError(error);
      link.close(code, message);
    }
  }

  #obey(link: LiveLink, text: string): void {
    const message = readClientMessage(text);
    if (message.type === 'claim') void this.#claim(link, message);
    else if (message.type === 'release') this.#release(message.name);
    else if (message.type === 'leave') this.#leave();
    else if (message.type === 'probe') this.#probe(link, message);
    else if (message.type === 'watch') void this.#watch(link, message);
    else throw new TunnelError('PROTOCOL_VIOLATION', 'Cannot accept proof: the session has begun');
  }

  async #claim(link: LiveLink, claim: Claim): Promise<void> {
    const { name } = claim;
    try {
      this.#admit(claim);
      const { tunnel, url } = await this.#host.claim(this, claim);
      if (!this.#isWanted(claim)) return abandon(tunnel);
      tunnel.attach(this, claim);
      this.#tunnels.set(name, tunnel);
      link.sendMessage({ type: 'claimed', name, url, tls: claim.tls });
      this.#log.info({ tunnel: name, public: tunnel.address }, 'tunnel online');
    } catch (error) {
      const { code, message, retryInMs } = asTunnelError(error);
      const retry = retryInMs === undefined ? {} : { retryInMs: Math.ceil(Math.max(0, retryInMs)) };
      link.sendMessage({ type: 'denied', name, code, message: shortened(message, MAX_REASON), ...retry });
      this.#log.warn({ tunnel: name, code, reason: message }, 'claim denied');
      this.#auditDenial(claim, code);
    } finally {
      if (this.#isWanted(claim)) this.#claims.delete(name);
    }
  }

  #auditDenial({ name, host, tcpPort }: Claim, code: ErrorCode): void {
    const { tokenName } = this.owner;
    const address = host ?? `:${tcpPort}`;
    const facts = { tokenName, client: this.clientAddress, session: this.id, tunnel: name, public: address, code };
    this.#host.audit('claim-denied', facts);
  }

  #probe(link: LiveLink, probe: Probe): void {
    const { name } = probe;
    try {
      this.#host.probe(this, probe);
      link.sendMessage({ type: 'probed', name, message: '' });
    } catch (error) {
      const { code, message } = asTunnelError(error);
      link.sendMessage({ type: 'probed', name, code, message });
    }
  }

  async #watch(link: LiveLink, watch: Watch): Promise<void> {
    const { id } = watch;
    this.#watches += 1;
    try {
      if (this.#watches > MAX_WATCHES) throw new TunnelError('LIMIT_EXCEEDED', 'Cannot watch: too many at a time');
      link.sendMessage({ type: 'watched', id, ...(await this.#host.watch(this, watch)) });
    } catch (error) {
      const { code, message } = asTunnelError(error);
      link.sendMessage({ type: 'watched', id, code, message, hops: [] });
    } finally {
      this.#watches -= 1;
    }
  }

  #admit(claim: Claim): void {
    if ((claim.host === undefined) === (claim.tcpPort === undefined)) {
      throw new TunnelError('PROTOCOL_VIOLATION', 'Cannot claim: exactly one of host and port is needed');
    }
    if (!isTunnelName(claim.name)) {
      throw new TunnelError('PROTOCOL_VIOLATION', 'Cannot claim: the name of the tunnel is not short visible ASCII');
    }
    if (claim.hostHeader !== undefined && parseAuthority(claim.hostHeader) === undefined) {
      throw new TunnelError('PROTOCOL_VIOLATION', 'Cannot claim: the host header is no host and port');
    }
    this.#release(claim.name);
    const count = this.#tunnels.size + this.#claims.size;
    if (count >= this.#host.limits.tunnelsPerSession) {
      throw new TunnelError('LIMIT_EXCEEDED', `Cannot claim: the session has ${count} tunnels already`);
    }
    this.#claims.set(claim.name, claim);
  }

  /** False when the claim was given back or made anew while it was decided, or when the session is over. */
  #isWanted(claim: Claim): boolean {
    return this.#claims.get(claim.name) === claim;
  }

  /** The client is stopping: new visitors meet an offline tunnel, streams that exist go on until it closes its links. */
  #leave(): void {
    this.#left = true;
    this.#claims.clear();
    for (const name of [...this.#tunnels.keys()]) this.#release(name, true);
  }

  /** Takes a tunnel away from the client, telling it why. */
  withdraw(tunnel: Tunnel, { code, message }: TunnelError): void {
    for (const [name, own] of this.#tunnels) {
      if (own !== tunnel) continue;
      this.#release(name);
      for (const link of this.#links) {
        link.sendMessage({ type: 'denied', name, code, message });
        break;
      }
    }
  }

  /** A client that is there and no longer wants a tunnel means it: nobody misses that one. */
  #release(name: string, isMissed = false): void {
    const tunnel = this.#tunnels.get(name);
    this.#tunnels.delete(name);
    this.#claims.delete(name);
    if (tunnel?.session !== this) return;
    tunnel.release(isMissed);
    this.#log.info({ tunnel: name, public: tunnel.address }, 'tunnel released');
  }
}

/** A public port may have been opened for a claim that nobody wants any more. */
function abandon(tunnel: Tunnel): void {
  if (tunnel.state === 'offline') tunnel.release();
}
