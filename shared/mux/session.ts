/**
 * MuxSession: many streams over one transport (yamux, hashicorp spec v0).
 *
 * Decides three things. When to send: frames of one event-loop turn leave as one batch (`setImmediate`: a turn serves
 * many sockets), while the outbox is not full, so that a later small write never queues behind megabytes. Who sends:
 * turns.ts. What a peer may do: every limit below; breaking one ends this session and no other.
 *
 * Owns: its streams and one immediate. Owned by: whoever owns the transport; both end together.
 */
import { asTunnelError, TunnelError } from '../errors.js';
import {
  FLAG_ACK,
  FLAG_FIN,
  FLAG_RST,
  FLAG_SYN,
  FrameReader,
  type FrameReceiver,
  GO_AWAY_INTERNAL_ERROR,
  GO_AWAY_NORMAL,
  GO_AWAY_PROTOCOL_ERROR,
  HEADER_BYTES,
  TYPE_DATA,
  TYPE_GO_AWAY,
  TYPE_PING,
  TYPE_WINDOW_UPDATE,
  writeHeader,
} from './frame.js';
import { type MuxTransport, Outbox } from './outbox.js';
import { MuxStream, type StreamOwner } from './stream.js';
import { MAX_FRAME_BYTES, Turns } from './turns.js';
import type { WindowBudget } from './window-budget.js';

/** Control frames that may wait for a transport that takes nothing: more than twice what 4,096 streams can owe. */
const CONTROL_BACKLOG_BYTES = 256 * 1024;

/** Pings the peer may send before it reads an answer. An honest peer has one under way. */
const MAX_PENDING_PONGS = 16;

/** Frames that open a stream or carry no payload, in CONTROL_PERIOD_MS. Twenty thousand new visitors a second need half. */
const MAX_CONTROL_FRAMES = 32_768;
const CONTROL_PERIOD_MS = 200;

/** Ids are never used twice; at a thousand streams a second they last 24 days. */
const MAX_STREAM_ID = 0xffff_ffff;

/** Round trips remembered; the least of them is the path's, the others include queues. */
const RTT_SAMPLES = 8;

export type { MuxTransport } from './outbox.js';

export interface MuxSessionOptions {
  /** `client` opens streams with odd ids, `server` with even ones (yamux roles, not ours). */
  readonly role: 'client' | 'server';
  /** A stream the peer opened; absent: the peer must not open any. */
  readonly onStream?: (stream: MuxStream) => void;
  /** The session is over; called once. `error` is undefined after our own orderly `close`. */
  readonly onClose: (error: TunnelError | undefined) => void;
  /** The peer will accept no new streams; those that exist go on. Called once. */
  readonly onGoAway?: () => void;
  /** Streams that may be open at a time, in both directions together. */
  readonly maxStreams: number;
  /** How far one stream's receive window may grow. */
  readonly maxWindowBytes: number;
  /** What all grown windows take from; sessions may share it. */
  readonly windowBudget: WindowBudget;
  /** Where this end's ids begin (of its role's parity); absent: 1 or 2. For a test that uses them up. */
  readonly firstStreamId?: number;
}

export class MuxSession implements FrameReceiver, StreamOwner {
  readonly #transport: MuxTransport;
  readonly #options: MuxSessionOptions;
  readonly #reader = new FrameReader(this);
  readonly #streams = new Map<number, MuxStream>();
  readonly #turns = new Turns();
  readonly #outbox: Outbox;
  #state: 'open' | 'closed' = 'open';
  #goAway: 'none' | 'sent' | 'received' | 'both' = 'none';

  #nextId: number;
  #newestPeerId = 0;
  #payloadStream: MuxStream | undefined;
  #payloadEnds = false;

  #control = Buffer.allocUnsafe(512);
  #controlBytes = 0;
  #flush: NodeJS.Immediate | undefined;
  readonly #served: MuxStream[] = [];

  #pendingPongs = 0;
  #controlFrames = 0;
  #controlPeriodAtMs = performance.now();
  #pingId = 0;
  #pingAtMs = 0;
  readonly #rttSamples: number[] = [];
  #leastRttMs = 0;
  /** When the peer was asked for something that it has not answered, in whatever way; 0 when it owes nothing. */
  #askedAtMs = 0;

  constructor(transport: MuxTransport, options: MuxSessionOptions) {
    this.#transport = transport;
    this.#outbox = new Outbox(transport);
    this.#options = options;
    this.#nextId = options.firstStreamId ?? (options.role === 'client' ? 1 : 2);
  }

  /** Streams that are open now. */
  get streamCount(): number {
    return this.#streams.size;
  }

  /** Bytes that wait for the system, an estimate of how long a new stream's first byte would wait. */
  get backlogBytes(): number {
    return this.#outbox.bytes;
  }

  get open(): boolean {
    return this.#state === 'open';
  }

  /** True while new streams can be opened. */
  get accepting(): boolean {
    return this.#admits && this.#nextId <= MAX_STREAM_ID;
  }

  get #admits(): boolean {
    return this.open && this.#goAway === 'none' && this.#streams.size < this.#options.maxStreams;
  }

  /** The least round trip of late in milliseconds; 0 until the first ping came back. */
  get rttMs(): number {
    return this.#rttSamples.length === 0 ? 0 : Math.min(...this.#rttSamples);
  }

  /**
   * The least round trip since the session began; 0 until the first ping came back. Windows follow this one: under load
   * every newer sample contains the queue that they themselves made.
   */
  get leastRttMs(): number {
    return this.#leastRttMs;
  }

  /**
   * For how many milliseconds nothing at all has come from a peer that owes an answer (to a ping, or to a new stream);
   * 0 while it owes none.
   */
  get silentMs(): number {
    return this.#askedAtMs === 0 ? 0 : performance.now() - this.#askedAtMs;
  }

  /** Opens a stream; its SYN leaves with its first bytes. Throws LIMIT_EXCEEDED, LINK_LOST or RELAY_DRAINING. */
  openStream(): MuxStream {
    if (!this.open) throw new TunnelError('LINK_LOST', 'Cannot open stream: the link is closed');
    if (this.#goAway !== 'none') throw new TunnelError('RELAY_DRAINING', 'Cannot open stream: the link is draining');
    if (this.#streams.size >= this.#options.maxStreams) {
      throw new TunnelError(
        'LIMIT_EXCEEDED',
        `Cannot open stream: ${this.#streams.size} streams are open on this link`,
      );
    }
    if (this.#nextId > MAX_STREAM_ID) {
      throw new TunnelError(
        'LIMIT_EXCEEDED',
        'Cannot open stream: the link has used up its stream ids. Open a new link.',
      );
    }
    const stream = new MuxStream(this.#nextId, this, 'us');
    this.#nextId += 2;
    this.#streams.set(stream.id, stream);
    this.wantsTurn(stream);
    if (this.#askedAtMs === 0) this.#askedAtMs = performance.now();
    return stream;
  }

  /** Asks the peer for a sign of life; the answer updates `rttMs`. One at a time: a second call replaces the first. */
  ping(): void {
    this.#pingId = (this.#pingId + 1) >>> 0;
    this.#pingAtMs = performance.now();
    if (this.#askedAtMs === 0) this.#askedAtMs = this.#pingAtMs;
    this.#sendControl(TYPE_PING, FLAG_SYN, 0, this.#pingId);
  }

  /** Tells the peer that we accept and open no new streams. Those that exist go on. */
  goAway(): void {
    if (!this.open || this.#goAway === 'sent' || this.#goAway === 'both') return;
    this.#goAway = this.#goAway === 'none' ? 'sent' : 'both';
    this.#sendControl(TYPE_GO_AWAY, 0, 0, GO_AWAY_NORMAL);
  }

  /**
   * Ends every stream with `error` at once and sends the peer a last go-away. Safe in any state, any number of times.
   */
  close(error?: TunnelError): void {
    if (!this.open) return;
    this.#sendLast(TYPE_GO_AWAY, goAwayReason(error));
    if (this.open) this.#end(error);
  }

  /** The transport is gone: ends every stream, sends nothing. Safe in any state, any number of times. */
  transportClosed(error: TunnelError): void {
    if (this.open) this.#end(error);
  }

  #end(error: TunnelError | undefined): void {
    this.#state = 'closed';
    this.#reader.stop();
    clearImmediate(this.#flush);
    const streamError = error ?? new TunnelError('LINK_LOST', 'Stream ended: the link was closed');
    for (const stream of [...this.#streams.values()]) stream.abort(streamError);
    this.#options.onClose(error);
  }

  // ---- inbound ----

  /** Reads bytes of the transport. A violation closes the session; nothing is thrown. */
  receive(chunk: Buffer): void {
    if (!this.open) return;
    this.#askedAtMs = 0;
    try {
      this.#reader.read(chunk);
    } catch (error) {
      this.close(asTunnelError(error));
    }
  }

  onFrame(type: number, flags: number, streamId: number, length: number): void {
    if (type !== TYPE_DATA || length === 0 || (flags & FLAG_SYN) !== 0) this.#countControlFrame();
    if (type === TYPE_PING) this.#onPing(flags, length);
    else if (type === TYPE_GO_AWAY) this.#onGoAway(length);
    else this.#onStreamFrame(type, flags, streamId, length);
  }

  onPayload(piece: Buffer, last: boolean): void {
    const stream = this.#payloadStream;
    if (stream === undefined) return;
    stream.receiveData(piece);
    if (!last) return;
    this.#payloadStream = undefined;
    if (this.#payloadEnds) stream.receiveEnd();
  }

  /** Flags come first except FIN, which counts after the payload of its own frame. */
  #onStreamFrame(type: number, flags: number, streamId: number, length: number): void {
    if (type === TYPE_DATA && length > MAX_FRAME_BYTES) throw violation(`frame of ${length} bytes`);
    const stream = (flags & FLAG_SYN) !== 0 ? this.#accept(streamId) : this.#find(streamId);
    if (stream === undefined) return;
    if ((flags & FLAG_ACK) !== 0) stream.receiveAck();
    if ((flags & FLAG_RST) !== 0) {
      stream.abort(new TunnelError('STREAM_RESET', 'Stream reset by the peer'));
      return;
    }
    if (type === TYPE_WINDOW_UPDATE) stream.receiveCredit(length);
    else if (length > 0) {
      stream.expectData(length);
      this.#payloadStream = stream;
      this.#payloadEnds = (flags & FLAG_FIN) !== 0;
      return;
    }
    if ((flags & FLAG_FIN) !== 0) stream.receiveEnd();
  }

  /** A late frame of a stream that we forgot is normal and ignored; one of a stream that never was is a violation. */
  #find(streamId: number): MuxStream | undefined {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) return stream;
    const newest = this.#isOurs(streamId) ? this.#nextId - 2 : this.#newestPeerId;
    if (streamId === 0 || streamId > newest) throw violation(`frame for stream ${streamId}, which was never opened`);
    return undefined;
  }

  #accept(streamId: number): MuxStream | undefined {
    const onStream = this.#options.onStream;
    if (onStream === undefined) throw violation('SYN, but this end accepts no streams');
    if (streamId === 0 || this.#isOurs(streamId)) throw violation(`SYN for stream ${streamId} of the wrong parity`);
    if (streamId <= this.#newestPeerId) throw violation(`SYN for stream ${streamId}, which was opened before`);
    this.#newestPeerId = streamId;
    if (!this.#admits) {
      this.#sendControl(TYPE_WINDOW_UPDATE, FLAG_RST, streamId, 0);
      return undefined;
    }
    const stream = new MuxStream(streamId, this, 'peer');
    this.#streams.set(streamId, stream);
    this.wantsTurn(stream);
    onStream(stream);
    return stream;
  }

  #isOurs(streamId: number): boolean {
    return (streamId & 1) === (this.#nextId & 1);
  }

  #onPing(flags: number, id: number): void {
    if ((flags & FLAG_SYN) !== 0) {
      this.#pendingPongs += 1;
      if (this.#pendingPongs > MAX_PENDING_PONGS) throw limit(`${this.#pendingPongs} pings without reading an answer`);
      this.#sendControl(TYPE_PING, FLAG_ACK, 0, id);
    } else if (id === this.#pingId && this.#pingAtMs !== 0) {
      this.#noteRtt(performance.now() - this.#pingAtMs);
      this.#pingAtMs = 0;
    }
  }

  #noteRtt(ms: number): void {
    if (this.#rttSamples.push(ms) > RTT_SAMPLES) this.#rttSamples.shift();
    this.#leastRttMs = this.#leastRttMs === 0 ? ms : Math.min(this.#leastRttMs, ms);
  }

  #onGoAway(reason: number): void {
    if (reason !== GO_AWAY_NORMAL) {
      this.transportClosed(
        new TunnelError('PROTOCOL_VIOLATION', `Link ended by the peer: go-away with reason ${reason}`),
      );
      return;
    }
    if (this.#goAway === 'received' || this.#goAway === 'both') return;
    this.#goAway = this.#goAway === 'none' ? 'received' : 'both';
    this.#options.onGoAway?.();
  }

  #countControlFrame(): void {
    this.#controlFrames += 1;
    if (this.#controlFrames < MAX_CONTROL_FRAMES) return;
    const nowMs = performance.now();
    const elapsedMs = nowMs - this.#controlPeriodAtMs;
    if (elapsedMs < CONTROL_PERIOD_MS) throw limit(`${this.#controlFrames} empty frames in ${elapsedMs.toFixed(0)} ms`);
    this.#controlFrames = 0;
    this.#controlPeriodAtMs = nowMs;
  }

  // ---- for streams ----

  wantsTurn(stream: MuxStream): void {
    this.#turns.add(stream);
    this.#schedule();
  }

  shareTurns(stream: MuxStream, key: string): void {
    this.#turns.share(stream, key);
  }

  sendCredit(stream: MuxStream, bytes: number): void {
    this.#sendControl(TYPE_WINDOW_UPDATE, stream.takeFlags(), stream.id, bytes);
  }

  sendReset(stream: MuxStream): void {
    this.#sendControl(TYPE_WINDOW_UPDATE, FLAG_RST, stream.id, 0);
  }

  forget(stream: MuxStream): void {
    this.#streams.delete(stream.id);
    this.#turns.remove(stream);
  }

  borrowWindow(windowBytes: number): number {
    const { maxWindowBytes, windowBudget } = this.#options;
    return windowBudget.take(Math.min(windowBytes, maxWindowBytes - windowBytes));
  }

  returnWindow(bytes: number): void {
    this.#options.windowBudget.giveBack(bytes);
  }

  // ---- outbound ----

  /** Transport: the oldest batch was taken by the system. */
  sent(): void {
    this.#outbox.taken();
    this.#schedule();
  }

  #schedule(): void {
    if (this.#flush !== undefined || !this.open || this.#outbox.full) return;
    if (this.#controlBytes === 0 && this.#turns.empty) return;
    this.#flush = setImmediate(this.#onFlush);
  }

  readonly #onFlush = (): void => {
    this.#flush = undefined;
    while (this.open && !this.#outbox.full && this.#sendBatch()) {
      // One batch at a time, until nothing is due or the transport has enough.
    }
    this.#notifyServed();
    this.#schedule();
  };

  /** Writers refill only after the batch has left: their new bytes belong to the next turn. */
  #notifyServed(): void {
    const served = this.#served.splice(0);
    for (const stream of served) stream.settle();
  }

  /** Sends what is due, at most one batch. False when nothing was. */
  #sendBatch(): boolean {
    const { headroomBytes, batchBytes } = this.#transport;
    const dueBytes = this.#controlBytes + this.#turns.estimateBytes(batchBytes);
    if (dueBytes === 0) return false;
    const batch = this.#outbox.open(dueBytes);
    let end = this.#moveControl(batch, headroomBytes);
    end = this.#turns.fill(batch, end, this.#served);
    return this.#outbox.send(batch, end);
  }

  /** Sends a frame now, ahead of all that waits: the session ends, and what it still owed ends with it. */
  #sendLast(type: number, length: number): void {
    const { headroomBytes } = this.#transport;
    const batch = Buffer.allocUnsafe(headroomBytes + HEADER_BYTES);
    writeHeader(batch, headroomBytes, type, 0, 0, length);
    this.#transport.send(batch);
  }

  #moveControl(batch: Buffer, offset: number): number {
    if (this.#controlBytes === 0) return offset;
    const room = batch.length - offset;
    const bytes = Math.min(this.#controlBytes, room - (room % HEADER_BYTES));
    this.#control.copy(batch, offset, 0, bytes);
    this.#control.copy(this.#control, 0, bytes, this.#controlBytes);
    this.#controlBytes -= bytes;
    if (this.#controlBytes === 0) this.#pendingPongs = 0;
    return offset + bytes;
  }

  #sendControl(type: number, flags: number, streamId: number, length: number): void {
    if (!this.open) return;
    if (this.#controlBytes + HEADER_BYTES > this.#control.length && !this.#growControl()) return;
    this.#controlBytes = writeHeader(this.#control, this.#controlBytes, type, flags, streamId, length);
    this.#schedule();
  }

  /** False when the backlog's limit is reached; the session is closed then. */
  #growControl(): boolean {
    if (this.#control.length >= CONTROL_BACKLOG_BYTES) {
      this.transportClosed(limit('control frames pile up and it takes none of them'));
      return false;
    }
    const grown = Buffer.allocUnsafe(Math.min(this.#control.length * 4, CONTROL_BACKLOG_BYTES));
    this.#control.copy(grown, 0, 0, this.#controlBytes);
    this.#control = grown;
    return true;
  }
}

function goAwayReason(error: TunnelError | undefined): number {
  if (error === undefined) return GO_AWAY_NORMAL;
  return error.code === 'PROTOCOL_VIOLATION' ? GO_AWAY_PROTOCOL_ERROR : GO_AWAY_INTERNAL_ERROR;
}

function violation(what: string): TunnelError {
  return new TunnelError('PROTOCOL_VIOLATION', `Cannot keep link: the peer sent a ${what}`);
}

function limit(what: string): TunnelError {
  return new TunnelError('LIMIT_EXCEEDED', `Cannot keep link: the peer broke a limit, ${what}`);
}
