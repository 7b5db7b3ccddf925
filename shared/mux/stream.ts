/**
 * MuxStream: one ordered byte stream each way, with half-close, reset and flow control. Not a Node stream: on the hot
 * path it costs one object, and its owner pulls from it when the link has room (a Duplex face: stream-duplex.ts).
 *
 * Inbound: bytes go to the handler at once while it flows; while it is paused they wait here, at most one window of
 * them, because credit is given for what the handler took, never for what arrived.
 * Outbound: bytes wait here until the session gives this stream its turn (`take`).
 *
 *   opening → open → localEnded | remoteEnded → closed        any → reset
 *
 * Owns: its two queues and its receive window. Owned by: MuxSession, which it knows only as a StreamOwner.
 */

import { Pieces } from '../bytes/pieces.js';
import { TunnelError } from '../errors.js';
import { FLAG_ACK, FLAG_SYN, INITIAL_WINDOW_BYTES, MAX_WINDOW_BYTES } from './frame.js';
import { ReceiveWindow, type WindowLender } from './receive-window.js';
import { Waiting } from './waiting.js';

/** `write` asks its caller to wait while more than this many bytes wait for their turn. */
export const WRITE_HIGH_WATER_BYTES = 64 * 1024;

/** Waiting writers are called back once no more than this is left, so that the next turn finds new bytes. */
const WRITE_LOW_WATER_BYTES = 32 * 1024;

/** … or while they wait in more pieces than this: a visitor who sends single bytes must not cost a hundred for each. */
const WRITE_HIGH_WATER_PIECES = 1024;

/**
 * Who uses the stream. `resume` may call `onData` and `onEnd` before it returns, and `reset` calls `onClose`;
 * `write`, `end` and `pause` call nothing.
 */
export interface StreamHandler {
  /** Bytes from the peer. They count as consumed when this returns: `pause()` inside holds back all later ones. */
  onData(piece: Buffer): void;
  /** The peer will send no more; we still may. */
  onEnd(): void;
  /** After `write` returned false: there is room again. */
  onDrain(): void;
  /** After `end`: everything written, and the end itself, went to the link. */
  onEndSent?(): void;
  /** The stream is over, both ways; called once. `error` is undefined after an orderly end of both directions. */
  onClose(error: TunnelError | undefined): void;
}

/** What a stream needs of its session. */
export interface StreamOwner extends WindowLender {
  /** The stream has bytes or flags to send, and window for them. */
  wantsTurn(stream: MuxStream): void;
  /** The stream takes its turns together with all others of this key. */
  shareTurns(stream: MuxStream, key: string): void;
  /** The handler consumed `bytes`: tell the peer it may send as many more. */
  sendCredit(stream: MuxStream, bytes: number): void;
  sendReset(stream: MuxStream): void;
  /** The stream needs no more frames: forget it. */
  forget(stream: MuxStream): void;
}

/** Streams that take turns at one place in the session's queue. */
export interface TurnPlace {
  readonly key: string;
  /** How many share it, whether they have something to send or not. */
  members: number;
  /** Stands in the queue for all of them; undefined while none does. */
  front: MuxStream | undefined;
  /** Those behind the front. */
  readonly waiting: MuxStream[];
}

export type StreamState = 'opening' | 'open' | 'localEnded' | 'remoteEnded' | 'closed' | 'reset';

export class MuxStream {
  readonly id: number;
  handler: StreamHandler | undefined;
  readonly #owner: StreamOwner;
  #state: StreamState = 'opening';

  readonly #inbound = new Waiting();
  #flowing = false;
  #delivering = false;
  #remoteEnd: 'none' | 'received' | 'delivered' = 'none';
  readonly #window: ReceiveWindow;

  readonly #outbound = new Pieces();
  #maySendBytes = INITIAL_WINDOW_BYTES;
  #pendingFlags: number;
  #localEnd: 'none' | 'asked' | 'sent' | 'settled' = 'none';
  #drainWanted = false;

  /** Scheduling state of the session's turns; the session alone reads and writes these three. */
  turnQueued = false;
  turnDeficitBytes = 0;
  turnPlace: TurnPlace | undefined;

  constructor(id: number, owner: StreamOwner, openedBy: 'us' | 'peer') {
    this.id = id;
    this.#owner = owner;
    this.#window = new ReceiveWindow(owner);
    this.#pendingFlags = openedBy === 'us' ? FLAG_SYN : FLAG_ACK;
    if (openedBy === 'peer') this.#state = 'open';
  }

  get state(): StreamState {
    return this.#state;
  }

  /** Bytes written and not yet handed to the link. */
  get outboundBytes(): number {
    return this.#outbound.bytes;
  }

  /** True until the stream is closed or reset. */
  get alive(): boolean {
    return this.#state !== 'closed' && this.#state !== 'reset';
  }

  // ---- for the handler's side ----

  /** Queues bytes; the caller must not change them afterwards. False asks to wait for `onDrain`. */
  write(piece: Buffer): boolean {
    if (!this.alive || this.#localEnd !== 'none') return false;
    if (piece.length > 0) {
      this.#outbound.push(piece);
      this.#askForTurn();
    }
    return this.#mayWriteMore();
  }

  /** `write`, but the caller may use the memory again afterwards. */
  writeCopy(borrowed: Buffer): boolean {
    if (!this.alive || this.#localEnd !== 'none') return false;
    if (borrowed.length > 0) {
      this.#outbound.pushCopy(borrowed);
      this.#askForTurn();
    }
    return this.#mayWriteMore();
  }

  #mayWriteMore(): boolean {
    const { bytes, count } = this.#outbound;
    if (bytes <= WRITE_HIGH_WATER_BYTES && count <= WRITE_HIGH_WATER_PIECES) return true;
    this.#drainWanted = true;
    return false;
  }

  /** Shares its turns among bulk with all streams of this session that have the same key: those of one visitor. */
  shareTurns(key: string): void {
    if (this.alive) this.#owner.shareTurns(this, key);
  }

  /** Half-close: what was written is still sent, then the peer sees the end. */
  end(): void {
    if (!this.alive || this.#localEnd !== 'none') return;
    this.#localEnd = 'asked';
    this.#askForTurn();
  }

  /** Abort: drops everything queued and tells the peer at once. Safe in any state. */
  reset(error = new TunnelError('STREAM_RESET', 'Stream reset by this end')): void {
    if (!this.alive) return;
    const peerKnows = (this.#pendingFlags & FLAG_SYN) === 0;
    if (peerKnows) this.#owner.sendReset(this);
    this.#finish('reset', error);
  }

  /** Bytes wait from now on. */
  pause(): void {
    this.#flowing = false;
  }

  /** Delivers what waited, then whatever arrives. A new stream starts paused. */
  resume(): void {
    if (this.#flowing) return;
    this.#flowing = true;
    this.#deliver();
  }

  // ---- for the session's side ----

  /** Session: a Data header. Throws PROTOCOL_VIOLATION before a byte is buffered when the window does not cover it. */
  expectData(bytes: number): void {
    if (bytes > this.#window.roomBytes) {
      throw new TunnelError(
        'PROTOCOL_VIOLATION',
        `Cannot accept data on stream ${this.id}: ${bytes} bytes overrun the window of ${this.#window.roomBytes}`,
      );
    }
    if (this.#remoteEnd !== 'none' && bytes > 0) {
      throw new TunnelError('PROTOCOL_VIOLATION', `Cannot accept data on stream ${this.id}: the peer has ended it`);
    }
    this.#window.fill(bytes);
  }

  /** Session: payload that `expectData` admitted. */
  receiveData(piece: Buffer): void {
    if (!this.alive) return;
    if (this.#flowing && !this.#delivering && this.#inbound.empty) {
      this.#delivering = true;
      this.#give(piece);
      this.#delivering = false;
    } else {
      this.#inbound.push(piece);
    }
  }

  /** Session: the peer acknowledged our SYN. */
  receiveAck(): void {
    if (this.#state === 'opening') this.#state = 'open';
  }

  /** Session: the peer half-closed. */
  receiveEnd(): void {
    if (!this.alive || this.#remoteEnd !== 'none') return;
    this.#remoteEnd = 'received';
    if (this.#flowing) this.#deliver();
  }

  /** Session: the peer aborted, or the session died with `error`. */
  abort(error: TunnelError): void {
    if (this.alive) this.#finish('reset', error);
  }

  /** Session: the peer lets us send more. Throws PROTOCOL_VIOLATION when the sum exceeds 2³²−1. */
  receiveCredit(bytes: number): void {
    if (this.#maySendBytes + bytes > MAX_WINDOW_BYTES) {
      throw new TunnelError('PROTOCOL_VIOLATION', `Cannot widen window of stream ${this.id}: beyond 2^32-1`);
    }
    this.#maySendBytes += bytes;
    if (this.#outbound.bytes > 0) this.#askForTurn();
  }

  /** Session: SYN or ACK that must ride on the stream's next frame; cleared by reading. */
  takeFlags(): number {
    const flags = this.#pendingFlags;
    this.#pendingFlags = 0;
    return flags;
  }

  /** Session: how many payload bytes the stream could send now. */
  get sendableBytes(): number {
    return Math.min(this.#outbound.bytes, this.#maySendBytes);
  }

  /** Session: true when flags alone are due, although no byte may or can be sent. */
  get flagsDue(): boolean {
    return this.#pendingFlags !== 0;
  }

  /** Session: true when all data is out and the end must be told. */
  get endDue(): boolean {
    return this.#localEnd === 'asked' && this.#outbound.bytes === 0;
  }

  /** Session: moves exactly `bytes` (at most `sendableBytes`) of the oldest data to `target` at `offset`. */
  take(target: Buffer, offset: number, bytes: number): void {
    this.#outbound.moveTo(target, offset, bytes);
    this.#maySendBytes -= bytes;
  }

  /** Session: our FIN was written into a batch. Calls nobody: the batch is still being filled. */
  endSent(): void {
    this.#localEnd = 'sent';
  }

  /** Session: the batches with this stream's frames have left; now its handler may hear of it. */
  settle(): void {
    if (this.#drainWanted && this.#hasRoom && this.alive) {
      this.#drainWanted = false;
      this.handler?.onDrain();
    }
    if (this.#localEnd === 'sent' && this.alive) {
      this.#localEnd = 'settled';
      this.handler?.onEndSent?.();
      this.#closeWhenBothEnded();
    }
  }

  get #hasRoom(): boolean {
    return this.#outbound.bytes <= WRITE_LOW_WATER_BYTES && this.#outbound.count <= WRITE_HIGH_WATER_PIECES / 2;
  }

  #askForTurn(): void {
    if (!this.turnQueued) this.#owner.wantsTurn(this);
  }

  #deliver(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    while (this.#flowing) {
      const piece = this.#inbound.shift();
      if (piece === undefined) break;
      this.#give(piece);
    }
    this.#delivering = false;
    if (!this.alive || !this.#flowing) return;
    if (this.#remoteEnd === 'received' && this.#inbound.empty) this.#deliverEnd();
  }

  #give(piece: Buffer): void {
    this.handler?.onData(piece);
    if (!this.alive) return;
    const credit = this.#remoteEnd === 'none' ? this.#window.take(piece.length) : 0;
    if (credit > 0) this.#owner.sendCredit(this, credit);
  }

  #deliverEnd(): void {
    this.#remoteEnd = 'delivered';
    if (this.#localEnd === 'none') this.#state = 'remoteEnded';
    this.handler?.onEnd();
    this.#closeWhenBothEnded();
  }

  #closeWhenBothEnded(): void {
    if (!this.alive) return;
    if (this.#localEnd !== 'settled') return;
    if (this.#remoteEnd === 'delivered') this.#finish('closed', undefined);
    else this.#state = 'localEnded';
  }

  #finish(state: 'closed' | 'reset', error: TunnelError | undefined): void {
    this.#state = state;
    this.#inbound.clear();
    this.#outbound.clear();
    this.#window.release();
    this.#owner.forget(this);
    this.handler?.onClose(error);
  }
}
