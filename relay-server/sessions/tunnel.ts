/**
 * Tunnel: one public address and who serves it. It decides what a visitor meets while its owner is away.
 *
 *   online → held (owner gone, `heldMs`: visitors wait) → online (owner back) | offline (visitors get TUNNEL_OFFLINE)
 *   online → offline (released by its owner)              offline → online (claimed again, by anybody who may)
 *
 * It also keeps visitors whose TLS ended here away from a client that ends TLS itself, and the other way round.
 *
 * Owns: one timer while held, and the waiting visitors. Owned by: Routes.
 */
import type { ByteStream } from '../../shared/bytes/byte-stream.js';
import { roundedSpan } from '../../shared/command/terminal-text.js';
import { TunnelError } from '../../shared/errors.js';
import type { Claim, TlsMode } from '../../shared/messages.js';
import { ExchangeMetrics } from '../../shared/metrics/exchange-metrics.js';
import { type Opening, sharedTurnsOf, writeOpening } from '../../shared/opening.js';
import { OriginStream, type Traffic, type VisitTrace } from './origin-stream.js';
import type { Session, SessionOwner } from './session.js';

/** One that has been down so long is no longer missed. */
const MISSED_MS = 7 * 86_400_000;
/** When a visitor of an offline tunnel may try again. */
const RETRY_MS = 5_000;

export interface TunnelOptions {
  /** May change while it runs. */
  readonly limits: { readonly heldMs: number; readonly heldVisitors: number };
  /** Called when it goes offline. */
  readonly onOffline: (tunnel: Tunnel) => void;
  /** Called when a client begins to serve it, or ends. */
  readonly onServed: () => void;
}

/** Who served a tunnel last. */
export interface Service {
  /** The client's name for the tunnel. */
  readonly name: string;
  readonly tokenName: string;
  /** When it was last seen serving; milliseconds since 1970. */
  readonly seenAtMs: number;
}

/** The Opening without what the tunnel itself knows. */
export interface Visit extends Omit<Opening, 'tunnel' | 'trace'> {
  /** Present when this visitor is followed. */
  readonly trace?: VisitTrace | undefined;
  /** Where this visitor's TLS ends; `relay` also for raw TCP, which the relay treats as it treats TLS that it ended. */
  readonly tlsEnds: TlsMode;
}

/** What a visitor who must wait gets: a way to give up. */
export type OnWait = (giveUp: () => void) => void;

interface WaitingVisitor {
  readonly resolve: () => void;
  readonly reject: (error: TunnelError) => void;
}

export class Tunnel {
  /** The public address: a hostname, a `*.` wildcard or `:port`. */
  readonly address: string;
  readonly traffic: Traffic = { openStreams: 0, totalStreams: 0, requests: 0, bytesIn: 0, bytesOut: 0 };
  readonly #options: TunnelOptions;
  readonly #waiting = new Set<WaitingVisitor>();
  readonly #streams = new Set<OriginStream>();
  #state: 'online' | 'held' | 'offline' = 'offline';
  #owner: SessionOwner | undefined;
  #session: Session | undefined;
  #claim: Claim | undefined;
  #tls: TlsMode = 'relay';
  #timer: NodeJS.Timeout | undefined;
  #exchanges: ExchangeMetrics | undefined;
  #service: Service | undefined;

  constructor(address: string, options: TunnelOptions) {
    this.address = address;
    this.#options = options;
  }

  get state(): 'online' | 'held' | 'offline' {
    return this.#state;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  /** The client's name for it; '' before the first claim. */
  get name(): string {
    return this.#claim?.name ?? this.#service?.name ?? '';
  }

  /** Who serves it, or did last; undefined when nobody has, or so long ago that it is no longer missed. */
  get service(): Service | undefined {
    if (this.#service === undefined) return undefined;
    if (this.#state === 'online') return { ...this.#service, seenAtMs: Date.now() };
    return Date.now() - this.#service.seenAtMs < MISSED_MS ? this.#service : undefined;
  }

  /** For how long it has been down: it was served, and has no client now. Undefined when it is not. */
  get downForMs(): number | undefined {
    const { service } = this;
    return service === undefined || this.#state === 'online' ? undefined : Math.max(0, Date.now() - service.seenAtMs);
  }

  get claim(): Claim | undefined {
    return this.#claim;
  }

  /** What its HTTP exchanges add up to; made for the first of them. */
  get exchanges(): ExchangeMetrics {
    this.#exchanges ??= new ExchangeMetrics();
    return this.#exchanges;
  }

  /** Where its visitors' TLS ends. */
  get tls(): TlsMode {
    return this.#tls;
  }

  /** Its visitors' TLS ends there from now on. Who may say so is Relay's to decide. */
  endTlsAt(tls: TlsMode): void {
    this.#tls = tls;
  }

  /** Throws HOSTNAME_TAKEN or PORT_TAKEN when another client has the address. One held without a client id is its token's. */
  checkTaking(owner: SessionOwner): void {
    if (this.#state === 'offline' || this.#owner === undefined) return;
    const sameClient = this.#owner.clientId === '' || this.#owner.clientId === owner.clientId;
    if (this.#owner.tokenId === owner.tokenId && sameClient) return;
    const code = this.address.startsWith(':') ? 'PORT_TAKEN' : 'HOSTNAME_TAKEN';
    throw new TunnelError(
      code,
      `Cannot claim ${this.address}: another client has it. Stop that one, or choose another.`,
    );
  }

  /**
   * The session serves it from now on; waiting visitors go to it.
   * Throws HOSTNAME_TAKEN or PORT_TAKEN when somebody else has it, or when its TLS was to end elsewhere meanwhile.
   */
  attach(session: Session, claim: Claim): void {
    this.checkTaking(session.owner);
    if (claim.tls !== this.#tls) {
      throw new TunnelError('HOSTNAME_TAKEN', `Cannot claim ${this.address}: another claim came first. Try again.`);
    }
    this.#stopHolding();
    this.#state = 'online';
    this.#owner = session.owner;
    this.#session = session;
    this.#claim = claim;
    this.#service = { name: claim.name, tokenName: session.owner.tokenName, seenAtMs: Date.now() };
    this.#options.onServed();
    for (const visitor of this.#takeWaiting()) visitor.resolve();
  }

  /** Its session ended: hold the address for its owner. */
  hold(session: Session): void {
    if (this.#session !== session) return;
    this.holdFor(session.owner);
  }

  /** Holds the address for an owner who is not here yet; after a restart, for any client of a token. */
  holdFor(owner: SessionOwner): void {
    this.#stopHolding();
    this.#noteEnd();
    this.#state = 'held';
    this.#owner = owner;
    this.#session = undefined;
    this.#timer = setTimeout(() => this.release(), this.#options.limits.heldMs);
  }

  /** Gives it up when the token that it is held for has ended: nobody could come back with it. */
  releaseUnless(isWelcome: (tokenId: string) => boolean): void {
    if (this.#state === 'held' && this.#owner !== undefined && !isWelcome(this.#owner.tokenId)) this.release();
  }

  /** It was served before the relay restarted. */
  recall(service: Service): void {
    this.#service = service;
  }

  /** Nobody misses it any more, unless a client serves it now. */
  forget(): void {
    if (this.#state === 'online' || this.#service === undefined) return;
    this.#service = undefined;
    this.#options.onServed();
  }

  #noteEnd(): void {
    if (this.#state !== 'online') return;
    this.#service = this.service;
    this.#options.onServed();
  }

  /** Its owner gave it back, or did not come. It is down from now on, unless nobody is to miss it. */
  release(isMissed = true): void {
    this.#stopHolding();
    this.#noteEnd();
    if (!isMissed) this.#service = undefined;
    this.#state = 'offline';
    this.#session = undefined;
    this.#owner = undefined;
    for (const visitor of this.#takeWaiting()) visitor.reject(this.#offline());
    for (const stream of this.#streams) stream.retire();
    this.#options.onOffline(this);
  }

  /**
   * A stream to the origin, now or when a held tunnel's owner is back; `onWait` is called when it has to wait.
   * Throws or rejects with TUNNEL_OFFLINE, LIMIT_EXCEEDED, LINK_LOST, or HOST_MISDIRECTED when the visitor's TLS ends in
   * another place than the tunnel's.
   */
  openStream(visit: Visit, onWait: OnWait): ByteStream | Promise<ByteStream> {
    if (visit.tlsEnds !== this.#tls) {
      throw new TunnelError('HOST_MISDIRECTED', 'The connection was made while TLS of this hostname ended elsewhere');
    }
    if (this.#state === 'offline') throw this.#offline();
    if (this.#state === 'held') return this.#wait(onWait).then(() => this.openStream(visit, onWait));
    // Before the stream: if it cannot be written, no stream may be left that nobody owns.
    const { trace } = visit;
    const opening = writeOpening({ ...visit, tunnel: this.name, trace: trace !== undefined });
    const session = this.#session;
    if (session === undefined) throw this.#offline();
    trace?.pass('session', `its client has been connected for ${roundedSpan(session.openForMs)}`);
    const stream = session.openStream();
    const turns = sharedTurnsOf(visit);
    if (turns !== undefined) stream.shareTurns(turns);
    trace?.passWithin('stream', `${session.links.size} links open`, session.rttMs);
    const origin = new OriginStream(stream, opening, this.traffic, this.#onStreamOver, trace);
    this.#streams.add(origin);
    return origin;
  }

  readonly #onStreamOver = (stream: OriginStream): void => {
    this.#streams.delete(stream);
  };

  #wait(onWait: OnWait): Promise<void> {
    if (this.#waiting.size >= this.#options.limits.heldVisitors) {
      throw new TunnelError(
        'LIMIT_EXCEEDED',
        `Cannot wait for the tunnel: ${this.#waiting.size} visitors wait already`,
        {
          retryInMs: RETRY_MS,
        },
      );
    }
    return new Promise((resolve, reject) => {
      const visitor = { resolve, reject };
      this.#waiting.add(visitor);
      onWait(() => {
        if (this.#waiting.delete(visitor)) reject(new TunnelError('STREAM_RESET', 'The visitor left while waiting'));
      });
    });
  }

  #takeWaiting(): WaitingVisitor[] {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    return waiting;
  }

  #stopHolding(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #offline(): TunnelError {
    return new TunnelError('TUNNEL_OFFLINE', 'No client serves this tunnel', { retryInMs: RETRY_MS });
  }
}
