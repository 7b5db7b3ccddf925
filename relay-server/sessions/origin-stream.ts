/**
 * OriginStream: a stream from the relay to an origin. It writes the Opening in front of the visitor's first bytes, so
 * that both leave in one frame, takes the client's verdict from in front of the origin's first bytes, and counts.
 *
 * Owns: its mux stream. Owned by: the exchange or splice that uses it.
 */
import type { ByteStream, ByteStreamHandler } from '../../shared/bytes/byte-stream.js';
import { codeOfVerdict, TunnelError, VERDICT_CONNECTED } from '../../shared/errors.js';
import type { RelayHop } from '../../shared/messages.js';
import type { MuxStream } from '../../shared/mux/stream.js';

/** Hears how far a followed visitor came (ops/traces.ts). */
export interface VisitTrace {
  pass(hop: RelayHop, fact: string, ms?: number): void;
  passWithin(hop: RelayHop, fact: string, ms: number): void;
}

/** Counts of one tunnel; payload only. */
export interface Traffic {
  openStreams: number;
  totalStreams: number;
  requests: number;
  /** From visitors to the origin. */
  bytesIn: number;
  /** From the origin to visitors. */
  bytesOut: number;
}

export class OriginStream implements ByteStream, ByteStreamHandler {
  handler: ByteStreamHandler | undefined;
  readonly #stream: MuxStream;
  readonly #traffic: Traffic;
  readonly #onOver: (stream: OriginStream) => void;
  #trace: VisitTrace | undefined;
  #verdict: 'awaited' | 'connected' = 'awaited';

  /** `onOver` is called once, when the stream is over. */
  constructor(
    stream: MuxStream,
    opening: Buffer,
    traffic: Traffic,
    onOver: (stream: OriginStream) => void,
    trace?: VisitTrace,
  ) {
    this.#trace = trace;
    this.#stream = stream;
    this.#traffic = traffic;
    this.#onOver = onOver;
    traffic.openStreams += 1;
    traffic.totalStreams += 1;
    stream.handler = this;
    stream.write(opening);
  }

  get alive(): boolean {
    return this.#stream.alive;
  }

  write(piece: Buffer): boolean {
    this.#traffic.bytesIn += piece.length;
    return this.#stream.write(piece);
  }

  writeCopy(borrowed: Buffer): boolean {
    this.#traffic.bytesIn += borrowed.length;
    return this.#stream.writeCopy(borrowed);
  }

  end(): void {
    this.#stream.end();
  }

  reset(error?: TunnelError): void {
    this.#stream.reset(error);
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  /** The tunnel is being given back: tells whoever uses the stream. */
  retire(): void {
    this.handler?.onRetire?.();
  }

  onData(piece: Buffer): void {
    if (this.#verdict === 'connected') this.#deliver(piece);
    else this.#readVerdict(piece);
  }

  onEnd(): void {
    this.handler?.onEnd();
  }

  onDrain(): void {
    this.handler?.onDrain();
  }

  onClose(error: TunnelError | undefined): void {
    this.#traffic.openStreams -= 1;
    this.#onOver(this);
    this.handler?.onClose(error);
  }

  #readVerdict(piece: Buffer): void {
    const verdict = piece[0];
    if (verdict === undefined) return;
    if (verdict !== VERDICT_CONNECTED) {
      this.#stream.reset(new TunnelError(codeOfVerdict(verdict), 'The client could not reach the origin'));
      return;
    }
    this.#verdict = 'connected';
    this.#trace?.pass('dial', 'the client reached the app');
    if (piece.length > 1) this.#deliver(piece.subarray(1));
  }

  #deliver(piece: Buffer): void {
    this.#traffic.bytesOut += piece.length;
    if (this.#trace !== undefined) this.#noteAnswer();
    this.handler?.onData(piece);
  }

  #noteAnswer(): void {
    this.#trace?.pass('app', 'the app answered');
    this.#trace = undefined;
  }
}
