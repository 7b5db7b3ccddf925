/**
 * Heartbeat: decides when a silent link is dead.
 *
 * Both ends run one. Every `intervalMs` it pings; `maxMissed` intervals in a row without any received frame end the
 * link, so a busy link never dies of a late pong. A beat that comes much too late means that this machine slept: the
 * silence then says nothing about the peer, so it asks at once and listens for one short interval.
 *
 * Owns: one timer. Owned by: whoever owns the link.
 */
import { TunnelError } from './errors.js';

/** What a heartbeat needs of its owner. */
export interface HeartbeatLink {
  ping(): void;
  /** How long the oldest bytes given to the socket have been waiting for the system to take them. */
  readonly stalledMs: number;
  lost(error: TunnelError): void;
}

/** A peer that answers pings but takes no bytes for this long is dead all the same. */
const MAX_STALL_MS = 15_000;

export interface HeartbeatOptions {
  readonly intervalMs: number;
  readonly maxMissed: number;
}

/** How long a suspected link may take to answer. */
const SUSPECT_MS = 1_500;

/** Detects a dead peer in 3 × 3 s at most. */
export const DEFAULT_HEARTBEAT: HeartbeatOptions = { intervalMs: 3_000, maxMissed: 2 };

export class Heartbeat {
  readonly #link: HeartbeatLink;
  readonly #options: HeartbeatOptions;
  #state: 'idle' | 'beating' | 'stopped' = 'idle';
  #timer: NodeJS.Timeout | undefined;
  #missed = 0;
  #dueAtMs = 0;

  constructor(link: HeartbeatLink, options: HeartbeatOptions) {
    this.#link = link;
    this.#options = options;
  }

  /** Begins, with a ping at once (it measures the round trip). */
  start(): void {
    if (this.#state !== 'idle') return;
    this.#state = 'beating';
    this.#link.ping();
    this.#schedule(this.#options.intervalMs);
  }

  /** The link heard something from its peer. */
  heard(): void {
    this.#missed = 0;
  }

  /** Something happened that may have cut the link (wake-up, changed interface): find out now, not at the next beat. */
  suspect(): void {
    if (this.#state !== 'beating') return;
    // The peer's last chance runs already: a new one for each suspicion would keep a dead link for ever.
    if (this.#missed >= this.#options.maxMissed) this.#link.ping();
    else this.#giveLastChance();
  }

  /** Safe in any state, any number of times. */
  stop(): void {
    this.#state = 'stopped';
    clearTimeout(this.#timer);
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer);
    if (this.#state !== 'beating') return; // The ping itself ended the link.
    // The wall clock, because the monotonic one stands still while the machine sleeps.
    this.#dueAtMs = Date.now() + delayMs;
    this.#timer = setTimeout(this.#onBeat, delayMs);
  }

  readonly #onBeat = (): void => {
    const lateMs = Date.now() - this.#dueAtMs;
    if (lateMs > this.#options.intervalMs) this.#giveLastChance();
    else if (this.#missed >= this.#options.maxMissed) this.#lose('sent nothing');
    else if (this.#link.stalledMs > MAX_STALL_MS) this.#lose('took nothing');
    else this.#beat();
  };

  #beat(): void {
    this.#missed += 1;
    this.#link.ping();
    this.#schedule(this.#options.intervalMs);
  }

  #giveLastChance(): void {
    this.#missed = this.#options.maxMissed;
    this.#link.ping();
    this.#schedule(Math.min(SUSPECT_MS, this.#options.intervalMs));
  }

  #lose(what: string): void {
    this.stop();
    this.#link.lost(new TunnelError('HEARTBEAT_LOST', `Cannot keep link: the peer ${what} for too long`));
  }
}
