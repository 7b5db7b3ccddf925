/**
 * Turns: decides whose bytes go into the next batch. Deficit round robin with a fast lane (as fq_codel, RFC 8290 §4.2):
 * a stream that had nothing to send and now has goes ahead of those in the middle of a bulk transfer, for one quantum;
 * then it takes turns with them. So a light switch or a WebSocket message passes a film, and two films share. A served
 * stream stays in the bulk queue, even when it is empty, until its turn comes: refilling does not make it new again.
 * Ever new streams leave a share to the bulk queue, so that a film goes on while a thousand visitors come and go.
 * Streams of one visitor may share one place in the bulk queue: of a visitor with a hundred downloads and one with a
 * single one each gets half.
 *
 * Owned by: MuxSession. The scheduling fields of each stream (`turn…`) are written only here.
 */
import { FLAG_FIN, HEADER_BYTES, TYPE_DATA, TYPE_WINDOW_UPDATE, writeHeader } from './frame.js';
import type { MuxStream, TurnPlace } from './stream.js';

/** What a stream may send at once when it comes to the fast lane. */
const FRESH_QUANTUM_BYTES = 16 * 1024;

/** What a stream may send before the next one's turn in the bulk queue: two turns to a batch, two TLS records to a turn. */
const BULK_QUANTUM_BYTES = 32 * 1024;

/** While somebody waits in the bulk queue, the fast lane may send this many bytes for each byte of bulk … */
const FRESH_SHARE = 3;

/** … with this much ahead. */
const FRESH_LEAD_BYTES = FRESH_SHARE * FRESH_QUANTUM_BYTES;

/** Nobody's turn is worth a frame with less than this while more waits: each costs its reader as much as a large one. */
const SCRAP_BYTES = 1024;

/** The largest Data frame that we send or accept. */
export const MAX_FRAME_BYTES = 64 * 1024;

/** With more streams than this queued, a batch is allocated in full: counting would cost more than it saves. */
const ESTIMATED_STREAMS = 8;

export class Turns {
  readonly #fresh: MuxStream[] = [];
  readonly #bulk: MuxStream[] = [];
  readonly #places = new Map<string, TurnPlace>();
  /** Streams that wait behind the front of their place. */
  #behind = 0;
  /** What the fast lane sent beyond its share. */
  #leadBytes = 0;

  get empty(): boolean {
    return this.#fresh.length === 0 && this.#bulk.length === 0;
  }

  /** Queues a stream that has something to send; harmless when it is queued already. */
  add(stream: MuxStream): void {
    if (stream.turnQueued) return;
    stream.turnQueued = true;
    stream.turnDeficitBytes = FRESH_QUANTUM_BYTES;
    this.#fresh.push(stream);
  }

  /** The stream shares its place in the bulk queue with all others of this key from now on. */
  share(stream: MuxStream, key: string): void {
    if (stream.turnPlace !== undefined) return;
    const place = this.#places.get(key) ?? { key, members: 0, front: undefined, waiting: [] };
    this.#places.set(key, place);
    place.members += 1;
    stream.turnPlace = place;
  }

  /** Forgets a stream that is over: while the transport takes nothing, the queues must not fill with dead ones. */
  remove(stream: MuxStream): void {
    if (stream.turnQueued) this.#dequeue(stream);
    this.#leave(stream);
  }

  #dequeue(stream: MuxStream): void {
    stream.turnQueued = false;
    for (const queue of [this.#fresh, this.#bulk]) {
      const at = queue.indexOf(stream);
      if (at >= 0) queue.splice(at, 1);
    }
    const behind = stream.turnPlace?.waiting.indexOf(stream) ?? -1;
    if (behind >= 0) {
      stream.turnPlace?.waiting.splice(behind, 1);
      this.#behind -= 1;
    }
    this.#stepAside(stream);
  }

  #leave(stream: MuxStream): void {
    const place = stream.turnPlace;
    if (place === undefined) return;
    stream.turnPlace = undefined;
    place.members -= 1;
    if (place.members === 0) this.#places.delete(place.key);
  }

  /** An upper bound of what `fill` would write, at most `limitBytes`: how large a batch is worth allocating. */
  estimateBytes(limitBytes: number): number {
    if (this.#behind > 0 || this.#fresh.length + this.#bulk.length > ESTIMATED_STREAMS) return limitBytes;
    const bytes = sumDueBytes(this.#fresh) + sumDueBytes(this.#bulk);
    return Math.min(bytes, limitBytes);
  }

  /** Writes frames to `batch` from `offset` until it is full or nobody has more; adds who was served to `served`. */
  fill(batch: Buffer, offset: number, served: MuxStream[]): number {
    let end = offset;
    while (batch.length - end > HEADER_BYTES) {
      const queue = this.#nextQueue();
      const stream = queue.shift();
      if (stream === undefined) break;
      if (!wantsTurn(stream)) {
        stream.turnQueued = false;
        this.#stepAside(stream);
        continue;
      }
      const room = batch.length - end - HEADER_BYTES;
      if (end > offset && room < SCRAP_BYTES && stream.sendableBytes > room) {
        queue.unshift(stream); // Its turn begins with the next batch, not with what is left of this one.
        break;
      }
      const quantum = this.empty && this.#behind === 0 ? MAX_FRAME_BYTES : stream.turnDeficitBytes;
      const start = end;
      end = serve(stream, batch, end, quantum);
      served.push(stream);
      this.#countShare(queue, end - start);
      this.#requeue(stream, queue, end - start);
    }
    return end;
  }

  #nextQueue(): MuxStream[] {
    if (this.#fresh.length === 0) return this.#bulk;
    return this.#bulk.length > 0 && this.#leadBytes >= FRESH_LEAD_BYTES ? this.#bulk : this.#fresh;
  }

  #countShare(queue: MuxStream[], bytes: number): void {
    if (queue === this.#bulk) this.#leadBytes = Math.max(0, this.#leadBytes - FRESH_SHARE * bytes);
    else if (this.#bulk.length > 0) this.#leadBytes += bytes;
  }

  /** Who used up its quantum waits a round; who was cut short by the end of the batch goes first in the next one. */
  #requeue(stream: MuxStream, queue: MuxStream[], usedBytes: number): void {
    const leftBytes = stream.turnDeficitBytes - usedBytes;
    // A scrap is kept for the next round, so that nobody gets less than others for being the last of each batch.
    stream.turnDeficitBytes = leftBytes >= SCRAP_BYTES ? leftBytes : BULK_QUANTUM_BYTES + Math.max(0, leftBytes);
    if (leftBytes >= SCRAP_BYTES && wantsTurn(stream)) queue.unshift(stream);
    else this.#wait(stream);
  }

  /** Goes to the end of the bulk queue, or to the end of those who wait at its place there. */
  #wait(stream: MuxStream): void {
    const place = stream.turnPlace;
    if (place === undefined) {
      this.#bulk.push(stream);
      return;
    }
    place.waiting.push(stream);
    this.#behind += 1;
    if (place.front !== undefined && place.front !== stream) return;
    const next = this.#nextFront(place);
    if (next !== undefined) this.#bulk.push(next);
  }

  /** Has nothing to send: the next one at its place takes the turn. */
  #stepAside(stream: MuxStream): void {
    if (stream.turnPlace?.front !== stream) return;
    const next = this.#nextFront(stream.turnPlace);
    if (next !== undefined) this.#bulk.unshift(next);
  }

  #nextFront(place: TurnPlace): MuxStream | undefined {
    place.front = place.waiting.shift();
    if (place.front !== undefined) this.#behind -= 1;
    return place.front;
  }
}

function wantsTurn(stream: MuxStream): boolean {
  return stream.sendableBytes > 0 || stream.flagsDue || stream.endDue;
}

function sumDueBytes(queue: readonly MuxStream[]): number {
  let bytes = 0;
  for (const stream of queue) {
    const dataBytes = stream.sendableBytes;
    // A header for each quantum begun, one for flags or the first piece, one for the end.
    bytes += dataBytes + HEADER_BYTES * (2 + Math.ceil(dataBytes / FRESH_QUANTUM_BYTES));
  }
  return bytes;
}

/** One stream's turn: a frame with at most `quantum` payload bytes, and its end when that is all. */
function serve(stream: MuxStream, batch: Buffer, offset: number, quantum: number): number {
  const flags = stream.takeFlags();
  const bytes = Math.min(stream.sendableBytes, quantum, batch.length - offset - HEADER_BYTES);
  let end = offset;
  if (bytes > 0) {
    end = writeHeader(batch, end, TYPE_DATA, flags, stream.id, bytes);
    stream.take(batch, end, bytes);
    end += bytes;
  } else if (flags !== 0) {
    end = writeHeader(batch, end, TYPE_WINDOW_UPDATE, flags, stream.id, 0);
  }
  if (!stream.endDue || batch.length - end < HEADER_BYTES) return end;
  // The end travels alone: hashicorp/yamux reads the flags of a Data frame before its payload.
  end = writeHeader(batch, end, TYPE_WINDOW_UPDATE, FLAG_FIN, stream.id, 0);
  stream.endSent();
  return end;
}
