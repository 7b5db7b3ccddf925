/**
 * LiveLink: a link after its handshake: the mux over its binary lane, control messages over its text lane, and a
 * heartbeat that ends it when the peer is silent. Whichever part fails, all of it ends, once, with one reason.
 *
 * Owns: the link, its mux session and its heartbeat. Owned by: a session at either end.
 */
import type { ErrorCode, TunnelError } from './errors.js';
import { Heartbeat, type HeartbeatLink, type HeartbeatOptions } from './heartbeat.js';
import type { Link, LinkHandler } from './link.js';
import { MuxSession } from './mux/session.js';
import type { MuxStream } from './mux/stream.js';
import type { WindowBudget } from './mux/window-budget.js';

/** Control messages that a peer may send in MESSAGE_PERIOD_MS; a client with 64 tunnels claims them in one burst. */
const MAX_MESSAGES = 500;
const MESSAGE_PERIOD_MS = 10_000;

/** A link whose peer has been silent, or taken nothing, for this long gets new streams only when all others have too. */
const LATE_MS = 500;

/** More than any link's streams and waiting bytes make. */
const LATE_LOAD = 1e6;

export interface LiveLinkOptions {
  readonly role: 'relay' | 'client';
  readonly heartbeat: HeartbeatOptions;
  readonly maxStreams: number;
  readonly maxWindowBytes: number;
  /** Shared by all links of a session. */
  readonly windowBudget: WindowBudget;
  /** Streams that the peer opens; absent: it must not (only the relay opens streams). */
  readonly onStream?: (stream: MuxStream) => void;
  readonly onMessage: (text: string) => void;
  /** The link is over; called once. */
  readonly onClose: (error: TunnelError) => void;
}

export class LiveLink implements LinkHandler, HeartbeatLink {
  readonly #link: Link;
  readonly #mux: MuxSession;
  readonly #heartbeat: Heartbeat;
  readonly #options: LiveLinkOptions;
  readonly #openedAtMs = performance.now();
  #messages = 0;
  #messagesSinceMs = performance.now();

  constructor(link: Link, options: LiveLinkOptions) {
    this.#link = link;
    this.#options = options;
    this.#mux = new MuxSession(link, {
      // The relay alone opens streams, and the end that accepted the connection is yamux's server.
      role: options.role === 'relay' ? 'server' : 'client',
      maxStreams: options.maxStreams,
      maxWindowBytes: options.maxWindowBytes,
      windowBudget: options.windowBudget,
      onClose: this.#onMuxClose,
      ...(options.onStream === undefined ? {} : { onStream: options.onStream }),
    });
    this.#heartbeat = new Heartbeat(this, options.heartbeat);
    link.handler = this;
    this.#heartbeat.start();
  }

  get remoteAddress(): string {
    return this.#link.remoteAddress;
  }

  get rttMs(): number {
    return this.#mux.rttMs;
  }

  get streamCount(): number {
    return this.#mux.streamCount;
  }

  /** What waits to be sent. */
  get backlogBytes(): number {
    return this.#mux.backlogBytes;
  }

  get openForMs(): number {
    return performance.now() - this.#openedAtMs;
  }

  /** True while streams can be opened on it. */
  get accepting(): boolean {
    return this.#link.open && this.#mux.accepting;
  }

  /**
   * How busy it is, to compare links of one session: streams, and waiting bytes counted as streams. Long before the
   * heartbeat ends a link that stands still, it is the busiest.
   */
  get load(): number {
    const busy = this.#mux.streamCount + this.#mux.backlogBytes / 16_384;
    return Math.max(this.#mux.silentMs, this.#link.stalledMs) > LATE_MS ? busy + LATE_LOAD : busy;
  }

  get stalledMs(): number {
    return this.#link.stalledMs;
  }

  /** Throws LIMIT_EXCEEDED, LINK_LOST or RELAY_DRAINING. */
  openStream(): MuxStream {
    return this.#mux.openStream();
  }

  sendMessage(message: object): void {
    this.#link.sendMessage(message);
  }

  /** The peer may have gone: ask now. */
  suspect(): void {
    this.#heartbeat.suspect();
  }

  /** No new streams; those that exist go on. */
  goAway(): void {
    this.#mux.goAway();
  }

  /** Ends the link and every stream on it, telling the peer why. Safe in any state. */
  close(code: ErrorCode, message: string): void {
    this.#heartbeat.stop();
    this.#mux.close();
    this.#link.close(code, message);
  }

  ping(): void {
    this.#mux.ping();
  }

  lost(error: TunnelError): void {
    this.#link.destroy(error);
  }

  onMessage(text: string): void {
    this.#heartbeat.heard();
    if (this.#countMessage()) this.#options.onMessage(text);
  }

  onBytes(chunk: Buffer): void {
    this.#heartbeat.heard();
    this.#mux.receive(chunk);
  }

  onSent(): void {
    this.#mux.sent();
  }

  onClose(error: TunnelError): void {
    this.#heartbeat.stop();
    this.#mux.transportClosed(error);
    this.#options.onClose(error);
  }

  readonly #onMuxClose = (error: TunnelError | undefined): void => {
    if (error !== undefined) this.#link.close(error.code, error.message);
  };

  #countMessage(): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#messagesSinceMs > MESSAGE_PERIOD_MS) {
      this.#messages = 0;
      this.#messagesSinceMs = nowMs;
    }
    this.#messages += 1;
    if (this.#messages <= MAX_MESSAGES) return true;
    this.close('LIMIT_EXCEEDED', 'Cannot keep link: the peer sends too many messages');
    return false;
  }
}
