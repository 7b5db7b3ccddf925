/**
 * Two mux sessions joined by a pipe in memory that splits the bytes wherever a test wants it, so that partial reads are
 * the normal case. Delivery is asynchronous, in order, one piece a turn of the event loop unless `pieceBytes` is large.
 */
import type { TunnelError } from '../../shared/errors.js';
import { MuxSession, type MuxSessionOptions, type MuxTransport } from '../../shared/mux/session.js';
import type { MuxStream, StreamHandler } from '../../shared/mux/stream.js';

const HEADROOM = 3;

/** One direction of the pipe. */
export class Wire implements MuxTransport {
  readonly headroomBytes = HEADROOM;
  readonly batchBytes: number;
  /** Everything that was sent, for tests that look at bytes. */
  readonly batches: Buffer[] = [];
  receiver: MuxSession | undefined;
  sender: MuxSession | undefined;
  stalled = false;
  readonly #pieceBytes: number;
  readonly #queue: Buffer[] = [];
  #pumping = false;

  constructor(pieceBytes: number, batchBytes: number) {
    this.#pieceBytes = pieceBytes;
    this.batchBytes = batchBytes;
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
    const batch = this.#queue.shift();
    if (batch === undefined || this.stalled) return;
    for (let at = 0; at < batch.length; at += this.#pieceBytes) {
      this.receiver?.receive(Buffer.from(batch.subarray(at, at + this.#pieceBytes)));
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
  readonly pieceBytes?: number;
  readonly batchBytes?: number;
  readonly onStream?: (stream: MuxStream) => void;
  readonly left?: Partial<MuxSessionOptions>;
  readonly right?: Partial<MuxSessionOptions>;
}

/** The left end opens streams (yamux client), the right end accepts them. */
export function muxPair(options: MuxPairOptions = {}): MuxPair {
  const { pieceBytes = 1 << 20, batchBytes = 65_532 } = options;
  const leftToRight = new Wire(pieceBytes, batchBytes);
  const rightToLeft = new Wire(pieceBytes, batchBytes);
  const accepted: MuxStream[] = [];
  const closed: MuxPair['closed'] = { left: 'open', right: 'open' };
  const limits = { maxStreams: 4096, maxWindowBytes: 16 << 20, windowBudgetBytes: 32 << 20 };
  const left = new MuxSession(leftToRight, {
    ...limits,
    role: 'client',
    onClose: (error) => {
      closed.left = error;
    },
    ...options.left,
  });
  const right = new MuxSession(rightToLeft, {
    ...limits,
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

/** Collects what a stream delivers, and lets a test wait for its end. */
export class Collector implements StreamHandler {
  readonly pieces: Buffer[] = [];
  ended = false;
  drains = 0;
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

  get bytes(): number {
    return this.pieces.reduce((sum, piece) => sum + piece.length, 0);
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
