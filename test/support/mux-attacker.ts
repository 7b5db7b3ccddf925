/** A mux session and the bytes that a hostile or careless peer sends it by hand. */
import { TunnelError } from '../../shared/errors.js';
import { MuxSession, type MuxSessionOptions, type MuxTransport } from '../../shared/mux/session.js';
import type { MuxStream } from '../../shared/mux/stream.js';
import { WindowBudget } from '../../shared/mux/window-budget.js';
import { type Frame, readFrames } from './mux-frames.js';

const HEADROOM = 4;

/** The victim's transport: it remembers what was sent, and confirms it only when told. */
export class Recorder implements MuxTransport {
  readonly headroomBytes = HEADROOM;
  readonly batchBytes: number;
  readonly batches: Buffer[] = [];
  /** Called with each batch; by default nothing is ever confirmed. */
  onSend: () => void = () => {};

  constructor(batchBytes = 65_532) {
    this.batchBytes = batchBytes;
  }

  send(batch: Buffer): void {
    this.batches.push(Buffer.from(batch.subarray(HEADROOM)));
    this.onSend();
  }

  get bytes(): number {
    return this.batches.reduce((sum, batch) => sum + batch.length, 0);
  }

  /** Every frame that was sent. */
  get frames(): Frame[] {
    return readFrames(Buffer.concat(this.batches));
  }
}

export interface Victim {
  readonly session: MuxSession;
  readonly transport: Recorder;
  readonly accepted: MuxStream[];
  /** What `onClose` was called with, in order. */
  readonly closes: (TunnelError | undefined)[];
  /** The code that ended the session; 'open' while it lives, 'orderly' after a close without error. */
  readonly code: () => string;
}

export interface VictimOptions extends Partial<MuxSessionOptions> {
  /** The relay's end: it opens streams and accepts none. */
  readonly acceptsStreams?: boolean;
  readonly batchBytes?: number;
  /** Confirm each batch at once, as a transport does whose peer reads. */
  readonly drained?: boolean;
}

/** A session with the yamux role of a server; its peer opens streams with odd ids. */
export function victim(options: VictimOptions = {}): Victim {
  const { acceptsStreams = true, batchBytes, drained = false, ...sessionOptions } = options;
  const transport = new Recorder(batchBytes);
  const accepted: MuxStream[] = [];
  const closes: (TunnelError | undefined)[] = [];
  const session = new MuxSession(transport, {
    role: 'server',
    maxStreams: 1024,
    maxWindowBytes: 16 << 20,
    windowBudget: new WindowBudget(32 << 20),
    ...(acceptsStreams ? { onStream: (stream: MuxStream) => accepted.push(stream) } : {}),
    onClose: (error) => closes.push(error),
    ...sessionOptions,
  });
  if (drained) transport.onSend = () => session.sent();
  return { session, transport, accepted, closes, code: () => codeOf(closes) };
}

function codeOf(closes: readonly (TunnelError | undefined)[]): string {
  if (closes.length === 0) return 'open';
  return closes[0] instanceof TunnelError ? closes[0].code : 'orderly';
}
