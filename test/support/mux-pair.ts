/**
 * Two mux sessions joined by a pipe in memory that splits the bytes wherever a test wants it, so that partial reads are
 * the normal case. Delivery is asynchronous, in order, one piece a turn of the event loop unless `pieceBytes` is large.
 */
import type { TunnelError } from '../../shared/errors.js';
import { MuxSession, type MuxSessionOptions, type MuxTransport } from '../../shared/mux/session.js';
import type { MuxStream, StreamHandler } from '../../shared/mux/stream.js';
import { WindowBudget } from '../../shared/mux/window-budget.js';
import { type Frame, readFrames } from './mux-frames.js';

const HEADROOM = 3;

/** One direction of the pipe. */
export class Wire implements MuxTransport {
  readonly headroomBytes = HEADROOM;
  readonly batchBytes: number;
  /** Everything that was sent, for tests that look at bytes. */
  readonly batches: Buffer[] = [];
  receiver: MuxSession | undefined;
  sender: MuxSession | undefined;
  /** While true the wire takes batches and neither delivers nor confirms them; `pump` after clearing it. */
  stalled = false;
  readonly #pieceBytes: () => number;
  readonly #queue: Buffer[] = [];
  #pumping = false;

  constructor(pieceBytes: () => number, batchBytes: number) {
    this.#pieceBytes = pieceBytes;
    this.batchBytes = batchBytes;
  }

  /** Every frame that was sent. */
  get frames(): Frame[] {
    return readFrames(Buffer.concat(this.batches));
  }

  get idle(): boolean {
    return this.#queue.length === 0 && !this.#pumping;
  }

  send(batch: Buffer): void {
    const bytes = Buffer.from(batch.subarray(HEADROOM));
    this.batches.push(bytes);
    this.#queue.push(bytes);
    this.pump();
  }

  pump(): void {
    if (this.#pumping || this.stalled) return;
    this.#pumping = true;
    setImmediate(() => this.#deliver());
  }

  #deliver(): void {
    this.#pumping = false;
    if (this.stalled) return;
    const batch = this.#queue.shift();
    if (batch === undefined) return;
    let at = 0;
    while (at < batch.length) {
      const end = at + this.#pieceBytes();
      this.receiver?.receive(Buffer.from(batch.subarray(at, end)));
      at = end;
    }
    this.sender?.sent();
    this.pump();
  }
}

export interface MuxPair {
  readonly left: MuxSession;
  readonly right: MuxSession;
  readonly leftToRight: Wire;
  readonly rightToLeft: Wire;
  /** Streams the right end accepted, oldest first. */
  readonly accepted: MuxStream[];
  readonly closed: { left: TunnelError | undefined | 'open'; right: TunnelError | undefined | 'open' };
}

export interface MuxPairOptions {
  /** Size of the pieces in which bytes arrive, or what chooses each piece's size. */
  readonly pieceBytes?: number | (() => number);
  readonly batchBytes?: number;
  readonly onStream?: (stream: MuxStream) => void;
  readonly left?: Partial<MuxSessionOptions>;
  readonly right?: Partial<MuxSessionOptions>;
}

/** The left end opens streams (yamux client), the right end accepts them. */
export function muxPair(options: MuxPairOptions = {}): MuxPair {
  const { pieceBytes = 1 << 20, batchBytes = 65_532 } = options;
  const choose = typeof pieceBytes === 'number' ? () => pieceBytes : pieceBytes;
  const leftToRight = new Wire(choose, batchBytes);
  const rightToLeft = new Wire(choose, batchBytes);
  const accepted: MuxStream[] = [];
  const closed: MuxPair['closed'] = { left: 'open', right: 'open' };
  const limits = () => ({ maxStreams: 4096, maxWindowBytes: 16 << 20, windowBudget: new WindowBudget(32 << 20) });
  const left = new MuxSession(leftToRight, {
    ...limits(),
    role: 'client',
    onClose: (error) => {
      closed.left = error;
    },
    ...options.left,
  });
  const right = new MuxSession(rightToLeft, {
    ...limits(),
    role: 'server',
    onStream: (stream) => {
      accepted.push(stream);
      options.onStream?.(stream);
    },
    onClose: (error) => {
      closed.right = error;
    },
    ...options.right,
  });
  leftToRight.sender = left;
  leftToRight.receiver = right;
  rightToLeft.sender = right;
  rightToLeft.receiver = left;
  return { left, right, leftToRight, rightToLeft, accepted, closed };
}

/** Waits for the next turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Waits until nothing is under way: both wires are empty and neither session has sent for some turns. */
export async function quiet(pair: MuxPair): Promise<void> {
  let sent = -1;
  for (let calmTurns = 0; calmTurns < 4; ) {
    await turn();
    const nowSent = pair.leftToRight.batches.length + pair.rightToLeft.batches.length;
    const calm = nowSent === sent && wireIsCalm(pair.leftToRight) && wireIsCalm(pair.rightToLeft);
    calmTurns = calm ? calmTurns + 1 : 0;
    sent = nowSent;
  }
}

function wireIsCalm(wire: Wire): boolean {
  return wire.idle || wire.stalled;
}

/** Collects what a stream delivers, and lets a test wait for its end. */
export class Collector implements StreamHandler {
  readonly pieces: Buffer[] = [];
  bytes = 0;
  ended = false;
  drains = 0;
  /** Calls of `onClose`: once is right. */
  closes = 0;
  closed: { error: TunnelError | undefined } | undefined;
  readonly end: Promise<void>;
  readonly close: Promise<TunnelError | undefined>;
  #resolveEnd: () => void = () => {};
  #resolveClose: (error: TunnelError | undefined) => void = () => {};
  #onDrain: (() => void) | undefined;
  #onBytes: { bytes: number; resolve: () => void } | undefined;

  constructor() {
    this.end = new Promise((resolve) => {
      this.#resolveEnd = resolve;
    });
    this.close = new Promise((resolve) => {
      this.#resolveClose = resolve;
    });
  }

  get content(): Buffer {
    return Buffer.concat(this.pieces);
  }

  /** Resolves once at least `bytes` arrived. */
  received(bytes: number): Promise<void> {
    if (this.bytes >= bytes) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onBytes = { bytes, resolve };
    });
  }

  /** Resolves at the next drain. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#onDrain = resolve;
    });
  }

  onData(piece: Buffer): void {
    this.pieces.push(piece);
    this.bytes += piece.length;
    if (this.#onBytes !== undefined && this.bytes >= this.#onBytes.bytes) this.#onBytes.resolve();
  }

  onEnd(): void {
    this.ended = true;
    this.#resolveEnd();
  }

  onDrain(): void {
    this.drains += 1;
    this.#onDrain?.();
  }

  onClose(error: TunnelError | undefined): void {
    this.closes += 1;
    this.closed = { error };
    this.#resolveClose(error);
  }
}

/** Attaches a collector and lets the stream flow. */
export function collect(stream: MuxStream): Collector {
  const collector = new Collector();
  stream.handler = collector;
  stream.resume();
  return collector;
}
