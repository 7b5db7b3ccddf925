/**
 * WorkerProcess: one place for a TLS worker: starts the process, starts another when it ends, and keeps account of what it
 * was given.
 *
 *   starting → ready → waiting → starting …        any → closing → closed
 *
 * Owns: the process. Owned by: TlsWorkers.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { SecureContext } from 'node:tls';
import { pemsOf } from '../../shared/certs/server-context.js';
import type { Log } from '../../shared/log.js';
import { type Signal, type SignalKind, SignalReader, signalBytes } from './hop-wire.js';
import type { ServeOrder, StartOrder, WorkerOrder } from './worker-orders.js';

/** A worker that ends is started again after this time, and each time in a row after twice as long. */
const FIRST_RESTART_MS = 100;
const LAST_RESTART_MS = 10_000;
/** It has come to stay then. */
const STABLE_MS = 10_000;

/** Certificates that a worker holds at a time; the least recently used one goes. */
const HELD_CERTIFICATES = 512;

/** Workers end within 2 s when they are told to. */
const CLOSE_MS = 4_000;

export interface WorkerProcessOptions {
  /** The command line that starts a worker. */
  readonly command: readonly string[];
  readonly start: StartOrder;
  readonly log: Log;
  readonly onSignal: (signal: Signal) => void;
  /** It is gone, and all its visitors. */
  readonly onLost: (worker: WorkerProcess) => void;
}

export class WorkerProcess {
  /** Visitors that it has now. */
  visitors = 0;
  readonly #options: WorkerProcessOptions;
  #state: 'starting' | 'ready' | 'waiting' | 'closing' | 'closed' = 'starting';
  #child: ChildProcess | undefined;
  #signals: Socket | undefined;
  #restarts = 0;
  #startedAtMs = 0;
  #timer: NodeJS.Timeout | undefined;
  /** By context, least recently used first. */
  readonly #held = new Map<SecureContext, number>();
  #lastCertificate = 0;

  constructor(options: WorkerProcessOptions) {
    this.#options = options;
    this.#start();
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get isReady(): boolean {
    return this.#state === 'ready' && this.#child?.connected === true;
  }

  /** Gives it a visitor, for a handshake with `context`. False when it cannot take one. */
  give(socket: Socket, context: SecureContext, order: Omit<ServeOrder, 'order' | 'certificate'>): boolean {
    const certificate = this.#hold(context);
    if (certificate === undefined) return false;
    this.#send({ order: 'serve', certificate, ...order }, socket);
    return true;
  }

  tell(kind: SignalKind, id: number): void {
    this.#signals?.write(signalBytes(kind, id));
  }

  /** Lets visitors have what was said to them, then ends. Safe any number of times. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    const child = this.#child;
    this.#state = child === undefined ? 'closed' : 'closing';
    if (child === undefined) return;
    const closed = once(child, 'close');
    this.#send({ order: 'finish' });
    const late = setTimeout(() => child.kill('SIGKILL'), CLOSE_MS);
    await closed;
    clearTimeout(late);
  }

  #start(): void {
    this.#state = 'starting';
    this.#startedAtMs = performance.now();
    try {
      this.#child = this.#spawn();
      this.#send(this.#options.start);
    } catch {
      // The system has no room for another process, or another pipe, now.
      this.#onGone();
    }
  }

  #spawn(): ChildProcess {
    const [command = process.execPath, ...args] = this.#options.command;
    const reader = new SignalReader(this.#onSignal);
    const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc', 'pipe'], env: environment() });
    child.on('error', ignore);
    const signals = child.stdio[4] as Socket;
    signals.on('data', (chunk: Buffer) => reader.read(chunk));
    signals.on('error', ignore);
    this.#signals = signals;
    // 'exit' does not come for a process that could not be started.
    child.once('close', () => this.#onGone());
    return child;
  }

  readonly #onSignal = (signal: Signal): void => {
    if (signal.kind !== 'ready') this.#options.onSignal(signal);
    else if (this.#state === 'starting') this.#state = 'ready';
  };

  #onGone(): void {
    const { log, onLost } = this.#options;
    const { pid, visitors } = this;
    this.#child = undefined;
    this.#signals?.destroy();
    this.#signals = undefined;
    this.#held.clear();
    onLost(this);
    if (this.#state === 'closing' || this.#state === 'closed') {
      this.#state = 'closed';
      return;
    }
    if (performance.now() - this.#startedAtMs >= STABLE_MS) this.#restarts = 0;
    const ms = Math.min(FIRST_RESTART_MS * 2 ** this.#restarts, LAST_RESTART_MS);
    this.#restarts += 1;
    this.#state = 'waiting';
    log.warn({ pid, visitors, ms }, 'a TLS worker ended; another takes its place');
    this.#timer = setTimeout(() => this.#start(), ms);
  }

  /** What the worker calls the certificate of `context`; undefined for one that was not made here. */
  #hold(context: SecureContext): number | undefined {
    const pems = pemsOf(context);
    if (pems === undefined) return undefined;
    const known = this.#held.get(context);
    const certificate = known ?? this.#lastCertificate + 1;
    this.#held.delete(context);
    this.#held.set(context, certificate);
    if (known === undefined) {
      this.#lastCertificate = certificate;
      this.#send({ order: 'hold', certificate, cert: pems.cert, key: pems.key.reveal() });
      this.#forgetLeastRecentlyUsed();
    }
    return certificate;
  }

  #forgetLeastRecentlyUsed(): void {
    const [oldest] = this.#held;
    if (oldest === undefined || this.#held.size <= HELD_CERTIFICATES) return;
    this.#held.delete(oldest[0]);
    this.#send({ order: 'forget', certificate: oldest[1] });
  }

  #send(order: WorkerOrder, socket?: Socket): void {
    // An order that does not arrive was for a process that is gone, of which 'close' tells.
    this.#child?.send(order, socket, {}, ignore);
  }
}

/** What Node itself reads. Secrets of relay.yaml may stand in the rest, and a worker needs none. */
function environment(): NodeJS.ProcessEnv {
  const wanted = /^(?:PATH|NODE_.*|OPENSSL_.*|SSL_.*|UV_.*|TZ)$/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => wanted.test(name)));
}

function ignore(): void {}
