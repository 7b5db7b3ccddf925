/**
 * StreamDuplex: a node:stream face of a MuxStream, for code that wants one (an http.Agent, a TLSSocket); the hot path
 * uses MuxStream itself. It decides how the two vocabularies meet: `end` is a half-close and so is the peer's end,
 * `destroy` is a reset, the peer's reset is an error, 'finish' means that everything went to the link. A `destroy` after
 * 'finish' lets the peer read on for a while what is on its way, as a closed TCP socket does; a reset would drop it. So
 * does one without an error while `hasLastWords` is set, for code that writes why and destroys at once (TLS and its alerts).
 *
 * Owns: the stream. Owned by: whoever asked for it.
 */
import { Duplex } from 'node:stream';
import { asTunnelError, TunnelError } from '../errors.js';
import { type MuxStream, type StreamHandler, WRITE_HIGH_WATER_BYTES } from './stream.js';

/** How long a peer may take to read what was sent before an orderly `destroy`. */
const READ_OUT_MS = 60_000;

type Done = (error?: Error | null) => void;

/**
 * Makes a Duplex of a stream that nobody handles yet. Both directions end separately, as on the wire. Errors are
 * TunnelErrors: STREAM_RESET from the peer, LINK_LOST or another code of the session when the link ends.
 */
export function asDuplex(stream: MuxStream): StreamDuplex {
  return new StreamDuplex(stream);
}

export class StreamDuplex extends Duplex implements StreamHandler {
  /** Whether a `destroy` without an error lets out what was written before. */
  hasLastWords = false;
  readonly #stream: MuxStream;
  #writeDone: Done | undefined;
  #finalDone: Done | undefined;

  constructor(stream: MuxStream) {
    super({
      allowHalfOpen: true,
      readableHighWaterMark: WRITE_HIGH_WATER_BYTES,
      writableHighWaterMark: WRITE_HIGH_WATER_BYTES,
    });
    this.#stream = stream;
    stream.handler = this;
    if (!stream.alive) this.destroy(new TunnelError('STREAM_RESET', 'Cannot use stream: it is over'));
  }

  // ---- node:stream asks ----

  override _read(): void {
    this.#stream.resume();
  }

  override _write(piece: Buffer, _encoding: BufferEncoding, done: Done): void {
    if (this.#stream.write(piece)) done();
    else this.#writeDone = done;
  }

  override _final(done: Done): void {
    this.#finalDone = done;
    this.#stream.end();
  }

  override _destroy(error: Error | null, done: Done): void {
    // Once both ends are through, 'end' and 'finish' bring us here and the stream is closed already.
    if (error !== null) this.#stream.reset(asTunnelError(error, 'STREAM_RESET'));
    else if (this.#stream.alive && (this.writableFinished || this.hasLastWords)) this.#endInOrder();
    else this.#stream.reset();
    done(error);
  }

  #endInOrder(): void {
    if (!this.writableFinished) this.#stream.end();
    readOut(this.#stream);
  }

  // ---- the stream tells ----

  onData(piece: Buffer): void {
    if (!this.push(piece)) this.#stream.pause();
  }

  onEnd(): void {
    this.push(null);
  }

  onDrain(): void {
    const done = this.#writeDone;
    this.#writeDone = undefined;
    done?.();
  }

  onEndSent(): void {
    this.#finalDone?.();
  }

  onClose(error: TunnelError | undefined): void {
    if (error === undefined) return;
    this.#writeDone?.(error);
    this.destroy(error);
  }
}

/** Waits for the peer's end; what it still says is dropped. */
function readOut(stream: MuxStream): void {
  const timer = setTimeout(() => stream.reset(), READ_OUT_MS);
  timer.unref();
  stream.handler = { onData: () => {}, onEnd: () => {}, onDrain: () => {}, onClose: () => clearTimeout(timer) };
  stream.resume();
}
