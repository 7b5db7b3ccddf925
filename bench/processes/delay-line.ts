/**
 * DelayLine: a line of some length between two programs: it forwards TCP to one port of loopback, and every byte arrives
 * `delay` later, at no more than the line's rate. Kernels without netem have nothing better to offer, and it needs no root.
 *
 * It knows nothing of loss, nor of TCP's slow start: what it shows is what windows and queues of the programs make of
 * distance. All connections share the rate of a direction; each holds no more than the line itself and a router's buffer
 * would, and then stops reading.
 *
 * SIGUSR2 lets its oldest connection stand still, and another one lets it go on: nothing is lost, and nobody is told.
 *
 * Arguments: the port to forward to, one way's delay in milliseconds, megabytes per second. Says `listening PORT`.
 */
import { connect, createServer, type Socket } from 'node:net';

/** What a router in front of the line holds, as time at the line's rate. */
const BUFFER_MS = 100;

/** What the receiving end has not taken yet, before the line stands still. */
const MAX_WAITING_BYTES = 1024 * 1024;

interface Parcel {
  /** Undefined: the end. */
  readonly chunk: Buffer | undefined;
  readonly dueAtMs: number;
}

/** One direction of the line, shared by all connections: when does what is sent now arrive? */
class Lane {
  readonly delayMs: number;
  readonly bytesPerMs: number;
  #freeAtMs = 0;

  constructor(delayMs: number, bytesPerMs: number) {
    this.delayMs = delayMs;
    this.bytesPerMs = bytesPerMs;
  }

  dueAtMs(bytes: number): number {
    this.#freeAtMs = Math.max(this.#freeAtMs, performance.now()) + bytes / this.bytesPerMs;
    return this.#freeAtMs + this.delayMs;
  }
}

/** One direction of one connection. Owns: its timer. */
class Carrier {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #lane: Lane;
  readonly #maxQueuedBytes: number;
  readonly #queue: Parcel[] = [];
  #queuedBytes = 0;
  #hasEnded = false;
  #isStill = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, lane: Lane) {
    this.#from = from;
    this.#to = to;
    this.#lane = lane;
    this.#maxQueuedBytes = lane.bytesPerMs * (lane.delayMs + BUFFER_MS);
    from.on('data', (chunk) => this.#onData(chunk));
    from.on('end', () => this.#send(undefined));
    to.on('drain', () => this.#deliver());
    // Not when `from` closes: what it sent is still on its way.
    to.on('close', () => this.#onReceiverClosed());
  }

  /** Delivers nothing until it is called with false. */
  standStill(isStill: boolean): void {
    this.#isStill = isStill;
    this.#deliver();
  }

  #onData(chunk: Buffer): void {
    this.#send(chunk);
    if (this.#queuedBytes >= this.#maxQueuedBytes) this.#from.pause();
  }

  #send(chunk: Buffer | undefined): void {
    const bytes = chunk?.length ?? 0;
    this.#queue.push({ chunk, dueAtMs: this.#lane.dueAtMs(bytes) });
    this.#queuedBytes += bytes;
    this.#schedule();
  }

  #schedule(): void {
    const next = this.#queue[0];
    if (next === undefined || this.#timer !== undefined || this.#isFull) return;
    this.#timer = setTimeout(() => this.#deliver(), next.dueAtMs - performance.now());
  }

  get #isFull(): boolean {
    return this.#isStill || this.#to.writableLength > MAX_WAITING_BYTES;
  }

  #deliver(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const now = performance.now();
    while (!this.#isFull) {
      const next = this.#queue[0];
      if (next === undefined || next.dueAtMs > now) break;
      this.#queue.shift();
      this.#hand(next.chunk);
    }
    if (this.#queuedBytes < this.#maxQueuedBytes && this.#from.isPaused()) this.#from.resume();
    this.#schedule();
  }

  #onReceiverClosed(): void {
    clearTimeout(this.#timer);
    if (!this.#hasEnded) this.#from.destroy();
  }

  #hand(chunk: Buffer | undefined): void {
    if (chunk === undefined) {
      this.#hasEnded = true;
      this.#to.end();
      return;
    }
    this.#queuedBytes -= chunk.length;
    this.#to.write(chunk);
  }
}

const [port = 0, delayMs = 0, megabytesPerSecond = 0] = process.argv.slice(2).map(Number);
const there = new Lane(delayMs, megabytesPerSecond * 1_000);
const back = new Lane(delayMs, megabytesPerSecond * 1_000);

/** In the order of their coming. */
const connections = new Set<readonly Carrier[]>();
let still: readonly Carrier[] | undefined;

function toggleOldest(): void {
  const isStill = still === undefined;
  if (isStill) [still] = connections;
  for (const carrier of still ?? []) carrier.standStill(isStill);
  if (!isStill) still = undefined;
}

function join(near: Socket): void {
  const far = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true });
  for (const [socket, other] of [
    [near, far],
    [far, near],
  ] as const) {
    // What was lost by one end is lost to the other, and nothing that waits is worth delivering.
    socket.on('error', () => other.destroy());
  }
  const connection = [new Carrier(near, far, there), new Carrier(far, near, back)];
  connections.add(connection);
  near.once('close', () => connections.delete(connection));
}

process.on('SIGUSR2', toggleOldest);

const server = createServer({ allowHalfOpen: true, noDelay: true }, join);
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') console.log(`listening ${address.port}`);
});
