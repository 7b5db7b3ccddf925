/**
 * TlsWorkers: further processes that end TLS, on machines with more than one core. The main process accepts a visitor, reads
 * its ClientHello, decides everything as ever, and hands the connection to the worker with the fewest visitors; that one
 * makes the handshake and sends the visitor's plaintext over a unix socket, where it is served like any other.
 *
 *   visitor ══ TLS ══ worker ── plaintext ── main process: routes, HTTP, links, everything that has a state
 *
 * Why TLS and nothing else: it is the dearest thing that needs nothing of the rest (docs/decisions.md). While no worker is
 * ready, the main process ends TLS itself.
 *
 * Owns: the workers, the unix socket and its folder, and visitors between the two. Owned by: Relay.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Deadlines } from '../../shared/deadlines.js';
import { asTunnelError, TunnelError } from '../../shared/errors.js';
import type { Log } from '../../shared/log.js';
import { readFirstBytes } from '../edge/first-bytes.js';
import type { WorkerStatus } from '../ops/relay-status.js';
import { HandedOver, type Handshake } from './handed-over.js';
import { readGreeting, type Signal } from './hop-wire.js';
import { WorkerProcess } from './worker-process.js';

/** From a worker's connection to its greeting, which is written with it. */
const GREETING_MS = 10_000;

/** Three keys of 16 bytes (Node's ticketKeys). */
const TICKET_KEY_BYTES = 48;

/** On fewer cores the work that workers make is more than what they take off (bench/README.md). */
const AUTO_FROM_CORES = 3;

/** As relay.yaml says it. */
export type WorkerCount = number | 'auto';

export interface TlsWorkersOptions {
  readonly count: number;
  /** The command line that starts a worker. */
  readonly command: readonly string[];
  /** For a whole handshake. */
  readonly handshakeMs: number;
  readonly deadlines: Deadlines;
  readonly log: Log;
}

/** Workers beside the main process; `auto` leaves a core to that one. One process for everything has none. */
export function workersFor(count: WorkerCount, cores = availableParallelism()): number {
  const auto = cores < AUTO_FROM_CORES ? 1 : cores - 1;
  const wanted = count === 'auto' ? auto : count;
  return wanted === 1 ? 0 : wanted;
}

export class TlsWorkers {
  readonly #options: TlsWorkersOptions;
  readonly #folder: string;
  readonly #server: Server;
  readonly #workers: readonly WorkerProcess[];
  readonly #visitors = new Map<number, { readonly visitor: HandedOver; readonly worker: WorkerProcess }>();
  #lastId = 0;

  private constructor(options: TlsWorkersOptions, folder: string, server: Server) {
    this.#options = options;
    this.#folder = folder;
    this.#server = server;
    server.on('connection', this.#onConnection);
    const ticketKeys = randomBytes(TICKET_KEY_BYTES).toString('base64');
    const { command, handshakeMs, log, count } = options;
    const start = { order: 'start', path: pathIn(folder), ticketKeys, handshakeMs } as const;
    const make = () => new WorkerProcess({ command, start, log, onSignal: this.#onSignal, onLost: this.#onLost });
    this.#workers = Array.from({ length: count }, make);
  }

  /** Starts workers; they take visitors a moment later. Rejects with CONFIG_INVALID when there is no place for the socket. */
  static async start(options: TlsWorkersOptions): Promise<TlsWorkers> {
    try {
      // Nobody else may enter the folder, so nobody else reaches the socket.
      const folder = await mkdtemp(join(tmpdir(), 'sallyport-tls-'));
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
      server.listen(pathIn(folder));
      await once(server, 'listening');
      server.on('error', () => {});
      return new TlsWorkers(options, folder, server);
    } catch (error) {
      const reason = asTunnelError(error).message;
      const message = `Cannot start workers: no unix socket in ${tmpdir()} (${reason}). Set TMPDIR, or workers: 1.`;
      throw new TunnelError('CONFIG_INVALID', message, { cause: error });
    }
  }

  /** Processes that take visitors, and how many each has. */
  get status(): readonly WorkerStatus[] {
    return this.#workers.flatMap(({ isReady, pid = 0, visitors }) => (isReady ? [{ pid, visitors }] : []));
  }

  /** Visitors that nobody else knows of: in a handshake, or with last words on their way. */
  get busyCount(): number {
    let count = 0;
    for (const { visitor } of this.#visitors.values()) if (visitor.isUnderWay) count += 1;
    return count;
  }

  /**
   * Hands a visitor over whose ClientHello was looked at and put back. False when no worker can take it; the socket is as it
   * was then. Otherwise the socket stays what the visitor is counted by, and closing it ends the visitor.
   */
  accept(socket: Socket, handshake: Handshake): boolean {
    const worker = this.#idlest();
    if (worker === undefined) return false;
    const id = this.#nextId();
    const { context, protocols, wantsExporter } = handshake;
    stopReading(socket);
    const hello: Buffer = socket.read() ?? Buffer.alloc(0);
    if (!worker.give(socket, context, { id, hello: hello.toString('base64'), protocols, wantsExporter })) {
      socket.unshift(hello);
      return false;
    }
    worker.visitors += 1;
    const visitor = new HandedOver(socket, {
      id,
      handshake,
      tell: (kind) => worker.tell(kind, id),
      onOver: () => {
        this.#visitors.delete(id);
        worker.visitors -= 1;
      },
    });
    this.#visitors.set(id, { visitor, worker });
    return true;
  }

  /** Ends the workers, each as soon as its visitors have what was said to them. Safe any number of times. */
  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close()));
    this.#server.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  #idlest(): WorkerProcess | undefined {
    let idlest: WorkerProcess | undefined;
    for (const worker of this.#workers) {
      if (worker.isReady && (idlest === undefined || worker.visitors < idlest.visitors)) idlest = worker;
    }
    return idlest;
  }

  #nextId(): number {
    do this.#lastId = (this.#lastId + 1) >>> 0;
    while (this.#visitors.has(this.#lastId));
    return this.#lastId;
  }

  readonly #onConnection = (socket: Socket): void => {
    socket.on('error', () => {});
    const options = { deadlines: this.#options.deadlines, timeoutMs: GREETING_MS, parse: readGreeting };
    readFirstBytes(socket, options).then(
      (greeting) => {
        const known = this.#visitors.get(greeting.id);
        if (known === undefined) socket.destroy();
        else known.visitor.join(socket, greeting);
      },
      () => socket.destroy(),
    );
  };

  readonly #onSignal = (signal: Signal): void => {
    this.#visitors.get(signal.id)?.visitor.hear(signal);
  };

  readonly #onLost = (lost: WorkerProcess): void => {
    for (const { visitor, worker } of this.#visitors.values()) if (worker === lost) visitor.lose();
  };
}

function pathIn(folder: string): string {
  return join(folder, 'tls');
}

/**
 * Node reads on beneath a paused socket, and what it reads would be lost when the socket is sent. It has no public name for
 * that.
 */
function stopReading(socket: Socket): void {
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readStop(): void } | null };
  handle?.readStop();
}
