/**
 * RequestBody: the way of a request's body from an HTTP/2 visitor to the stream that carries its request: framed as
 * HTTP/1.1 needs it, as fast as the stream takes it. Behind a WebSocket's handshake it is what the visitor says, as it is.
 *
 *   waiting → flowing → complete        any → stopped: nobody wants the rest
 *
 * While the stream takes nothing, the visitor's window closes: at most that much waits here.
 *
 * Owned by: Http2Exchange.
 */
import { constants, type ServerHttp2Stream } from 'node:http2';
import type { ByteStream } from '../bytes/byte-stream.js';
import { TunnelError } from '../errors.js';
import { type BodyFraming, CHUNK_TAIL, chunkHead, LAST_CHUNK } from '../http/body.js';
import { readTrailerLines } from './read-request.js';

/** Who is told how it goes on. */
export interface RequestBodyOwner {
  /** A piece was received. */
  onBodyPiece(bytes: number): void;
  /** All of it was given to the stream. */
  onBodyEnd(): void;
  /** Called inside of an event: whoever throws there ends the process. */
  onBodyFailed(error: unknown): void;
}

export class RequestBody {
  readonly #visitor: ServerHttp2Stream;
  readonly #owner: RequestBodyOwner;
  #state: 'waiting' | 'flowing' | 'complete' | 'stopped';
  #stream: ByteStream | undefined;
  #framing: BodyFraming['kind'] = 'none';
  /** What the content-length still allows. */
  #remainingBytes = Number.POSITIVE_INFINITY;
  /** Field lines behind the last chunk. */
  #trailers = '';
  #full = false;

  /** @param isEmpty whether the request ended with its head */
  constructor(visitor: ServerHttp2Stream, isEmpty: boolean, owner: RequestBodyOwner) {
    this.#visitor = visitor;
    this.#owner = owner;
    this.#state = isEmpty ? 'complete' : 'waiting';
  }

  /** True while more of it may come. */
  get open(): boolean {
    return this.#state === 'waiting' || this.#state === 'flowing';
  }

  /** True while the stream was promised more than it got: it can carry nothing else. */
  get owed(): boolean {
    return this.#stream !== undefined && this.#state !== 'complete';
  }

  /** True while the stream takes no more. */
  get full(): boolean {
    return this.#full;
  }

  /** Received, and not yet given to the stream. */
  get waitingBytes(): number {
    return this.#visitor.readableLength;
  }

  /**
   * Lets it flow into the stream, which has its head already.
   * @param acceptsTrailers whether the visitor's trailers go on
   */
  flowInto(stream: ByteStream, framing: BodyFraming, acceptsTrailers: boolean): void {
    if (this.#state !== 'waiting') return;
    this.#state = 'flowing';
    this.#stream = stream;
    this.#framing = framing.kind;
    if (framing.kind === 'length') this.#remainingBytes = framing.bytes;
    if (acceptsTrailers) this.#visitor.on('trailers', (_fields, _flags, raw?: string[]) => this.#onTrailers(raw ?? []));
    this.#visitor.on('end', () => this.#onEnd());
    this.#visitor.on('data', (piece: Buffer) => this.#onPiece(piece));
  }

  /** The stream takes more. */
  resume(): void {
    this.#full = false;
    this.#visitor.resume();
  }

  /** What still comes is dropped, and once the response is written the visitor is told so (RFC 9113 §8.1). */
  stop(): void {
    if (!this.open || this.#visitor.closed) return;
    this.#state = 'stopped';
    this.#visitor.removeAllListeners('data');
    this.#visitor.resume();
    this.#visitor.close(constants.NGHTTP2_NO_ERROR);
  }

  #onPiece(piece: Buffer): void {
    this.#owner.onBodyPiece(piece.length);
    const stream = this.#stream;
    if (this.#state !== 'flowing' || stream === undefined || piece.length === 0) return;
    this.#remainingBytes -= piece.length;
    // More than was promised would be the next request on this stream.
    if (this.#remainingBytes < 0) this.#owner.onBodyFailed(wrongLength('longer'));
    else if (!this.#write(stream, piece)) this.#hold();
  }

  #write(stream: ByteStream, piece: Buffer): boolean {
    if (this.#framing !== 'chunked') return stream.write(piece);
    stream.write(chunkHead(piece.length));
    stream.write(piece);
    return stream.write(CHUNK_TAIL);
  }

  #hold(): void {
    this.#full = true;
    this.#visitor.pause();
  }

  #onTrailers(fields: readonly string[]): void {
    try {
      this.#trailers = readTrailerLines(fields);
    } catch (error) {
      this.#owner.onBodyFailed(error);
    }
  }

  #onEnd(): void {
    // node:http2 ends what was cut as well; 'close' follows then.
    if (this.#visitor.aborted || this.#state !== 'flowing') return;
    this.#state = 'complete';
    if (this.#framing === 'none') this.#stream?.end();
    else if (this.#framing === 'chunked') this.#stream?.write(this.#lastChunk());
    else if (this.#remainingBytes > 0) {
      this.#owner.onBodyFailed(wrongLength('shorter'));
      return;
    }
    this.#owner.onBodyEnd();
  }

  #lastChunk(): Buffer {
    return this.#trailers === '' ? LAST_CHUNK : Buffer.from(`0\r\n${this.#trailers}\r\n`, 'latin1');
  }
}

function wrongLength(how: 'longer' | 'shorter'): TunnelError {
  return new TunnelError('REQUEST_INVALID', `Cannot read request: its body is ${how} than its content-length`);
}
