/**
 * VisitorWriter: decides how many writes a response costs. A write through TLS costs about as much as encrypting 20 KiB.
 * So a head and the body bytes that came with it leave as one buffer, and of a large body whatever one turn of the event
 * loop brought leaves as one block; what comes while a block is on its way makes up the next one. Little never waits for
 * more: an event or a short page leaves at once.
 *
 * Owns: what is queued, one block on its way, one immediate. Owned by: HttpConnection, which owns the socket.
 */
import type { Socket } from 'node:net';
import { BLOCK_BYTES, returnBlock, takeBlock } from '../bytes/blocks.js';
import { Pieces } from '../bytes/pieces.js';

/** Up to here nothing waits for more. */
const LITTLE_BYTES = 12 * 1024;

export class VisitorWriter {
  /** Of all pieces since whoever reads it set it to 0. */
  pieceBytes = 0;
  readonly #socket: Socket;
  readonly #onRoom: () => void;
  #state: 'open' | 'closed' = 'open';
  #head = '';
  readonly #pieces = new Pieces();
  #block: Buffer | undefined;
  #turn: NodeJS.Immediate | undefined;

  /** `onRoom` is called, perhaps more than once, after `flush` returned false. */
  constructor(socket: Socket, onRoom: () => void) {
    this.#socket = socket;
    this.#onRoom = onRoom;
    socket.on('drain', this.#onDrain);
  }

  /** Queues head text (latin1) in front of the pieces that follow. */
  head(text: string): void {
    if (this.#pieces.bytes > 0) this.finish();
    this.#head += text;
  }

  /** Queues bytes; the caller must not change them afterwards. */
  piece(bytes: Buffer): void {
    this.#pieces.push(bytes);
    this.pieceBytes += bytes.length;
  }

  /** Lets what is queued leave in time. False asks to wait for `onRoom`. */
  flush(): boolean {
    const bytes = this.#bytes;
    if (this.#block !== undefined) return false;
    if (bytes === 0) return !this.#socket.writableNeedDrain;
    if (bytes <= LITTLE_BYTES) return this.#writeAll(bytes);
    if (bytes < BLOCK_BYTES) this.#turn ??= setImmediate(this.#onTurn);
    else this.#writeBlock();
    return this.#block === undefined;
  }

  /** Writes all that is queued, now: the connection ends, or is about to belong to somebody else. */
  finish(): void {
    if (this.#bytes > 0) this.#writeAll(this.#bytes);
  }

  /** Lets go of the socket; what is queued is dropped. Safe any number of times. */
  close(): void {
    this.#state = 'closed';
    clearImmediate(this.#turn);
    this.#socket.off('drain', this.#onDrain);
    this.#head = '';
    this.#pieces.clear();
  }

  get #bytes(): number {
    return this.#head.length + this.#pieces.bytes;
  }

  readonly #onTurn = (): void => {
    this.#turn = undefined;
    if (this.#block === undefined && this.#bytes > 0) this.#writeBlock();
  };

  /** More is asked for first: what waits elsewhere fills the next block. */
  readonly #onTaken = (error?: Error | null): void => {
    if (this.#block !== undefined) returnBlock(this.#block);
    this.#block = undefined;
    if (error || this.#state === 'closed') return;
    if (this.#bytes < BLOCK_BYTES) this.#onRoom();
    if (this.#block === undefined && this.#bytes > 0) this.#writeBlock();
  };

  readonly #onDrain = (): void => {
    if (this.#block === undefined) this.#onRoom();
  };

  #writeAll(bytes: number): boolean {
    const only = this.#head === '' ? this.#pieces.takeOnly() : undefined;
    if (only !== undefined) return this.#socket.write(only);
    const joined = Buffer.allocUnsafe(bytes);
    this.#moveTo(joined, bytes);
    return this.#socket.write(joined);
  }

  #writeBlock(): void {
    const bytes = Math.min(this.#bytes, BLOCK_BYTES);
    this.#block = takeBlock();
    this.#moveTo(this.#block, bytes);
    this.#socket.write(this.#block.subarray(0, bytes), this.#onTaken);
  }

  /** Moves the oldest `bytes` bytes, of which the head is the first. */
  #moveTo(target: Buffer, bytes: number): void {
    const headBytes = this.#head === '' ? 0 : target.write(this.#head, 0, 'latin1');
    this.#head = '';
    this.#pieces.moveTo(target, headBytes, bytes - headBytes);
  }
}
