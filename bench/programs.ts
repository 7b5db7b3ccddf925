/**
 * Programs: the processes of a scene. Each is known by its pid and ended by it, whatever happens: at the end, after a
 * failure, and when somebody presses Ctrl-C.
 *
 * Owns: every process it started. Owned by: Scene.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';
import { TunnelError } from '../shared/errors.js';

/** How long a program may take to say that it is ready. */
const READY_MS = 15_000;

/** How long a program may take to end when asked; then it is killed. */
const END_MS = 5_000;

/** Enough of a program's output to say why it failed. */
const KEPT_LINES = 20;

export interface RunOptions {
  /** The program is killed after this long, in milliseconds. */
  readonly timeoutMs: number;
  /** Exit codes that are no failure; 0 alone when left out. */
  readonly exitCodes?: readonly number[];
}

/** One process of a scene, running until it is ended or the scene is. */
export interface Program {
  readonly pid: number;
  /**
   * The first line, of either output, that contains `text`, among the last 20 or those to come. Rejects when the program
   * ends first or says nothing of the kind in `withinMs` (15 s).
   */
  line(text: string, withinMs?: number): Promise<string>;
  /** What `ready` resolves with; rejects when the program ends first. */
  until<T>(ready: Promise<T>): Promise<T>;
  /** Calls `listener` with each line to come, until the returned function is called. */
  onLine(listener: (line: string) => void): () => void;
  /** Asks the program to end, and kills it when it does not. Resolves when it is gone. */
  end(): Promise<void>;
}

export class Programs {
  readonly #running = new Set<RunningProgram>();
  #state: 'open' | 'closed' = 'open';

  /** Starts a program that runs until `close`. Throws INTERNAL once closed. */
  start(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Program {
    return this.#start(command, args, env);
  }

  /** Runs a program to its end. Resolves with its stdout; rejects with INTERNAL when it fails or takes too long. */
  async run(command: string, args: readonly string[], options: RunOptions): Promise<string> {
    const program = this.#start(command, args, {});
    const output: Buffer[] = [];
    program.child.stdout?.on('data', (chunk: Buffer) => output.push(chunk));
    const timer = setTimeout(() => program.child.kill('SIGKILL'), options.timeoutMs);
    const how = await program.ended.finally(() => clearTimeout(timer));
    const { exitCodes = [0] } = options;
    if (!exitCodes.some((code) => how === `exit code ${code}`)) throw program.failure(`ended with ${how}`);
    return Buffer.concat(output).toString();
  }

  /** Ends every program. Safe any number of times. */
  async close(): Promise<void> {
    this.#state = 'closed';
    await Promise.all([...this.#running].map((program) => program.end()));
  }

  #start(command: string, args: readonly string[], env: NodeJS.ProcessEnv): RunningProgram {
    if (this.#state === 'closed') throw new TunnelError('INTERNAL', `Cannot start ${command}: the bench is over`);
    const program = new RunningProgram(command, args, env);
    this.#running.add(program);
    void program.ended.then(() => this.#running.delete(program));
    return program;
  }
}

class RunningProgram implements Program {
  readonly child: ChildProcess;
  /** Resolves with how it ended: `exit code 0`, `signal SIGKILL`, `ENOENT`. */
  readonly ended: Promise<string>;
  readonly #name: string;
  readonly #lines: string[] = [];
  readonly #listeners = new Set<(line: string) => void>();

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.#name = [basename(command), ...args.slice(0, 2).map((arg) => basename(arg))].join(' ');
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.ended = endOf(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => this.#onLine(line));
    }
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  line(text: string, withinMs = READY_MS): Promise<string> {
    const earlier = this.#lines.find((line) => line.includes(text));
    if (earlier !== undefined) return Promise.resolve(earlier);
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        stopListening();
      };
      const stopListening = this.onLine((line) => {
        if (!line.includes(text)) return;
        settle();
        resolve(line);
      });
      const timer = setTimeout(() => {
        settle();
        reject(this.failure(`did not say ${text} in ${withinMs} ms`));
      }, withinMs);
      void this.ended.then((how) => {
        settle();
        reject(this.failure(`ended with ${how}`));
      });
    });
  }

  until<T>(ready: Promise<T>): Promise<T> {
    const ended = this.ended.then((how) => Promise.reject(this.failure(`ended with ${how}`)));
    return Promise.race([ready, ended]);
  }

  onLine(listener: (line: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  failure(what: string): TunnelError {
    const said = this.#lines.length === 0 ? '' : `\n${this.#lines.join('\n')}`;
    return new TunnelError('INTERNAL', `Cannot go on: ${this.#name} ${what}${said}`);
  }

  async end(): Promise<void> {
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), END_MS);
    await this.ended;
    clearTimeout(timer);
  }

  #onLine(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    for (const listener of [...this.#listeners]) listener(line);
  }
}

/** After 'close', not 'exit': by then all output was read. */
function endOf(child: ChildProcess): Promise<string> {
  const closed = once(child, 'close').then(([code, signal]) => (signal ? `signal ${signal}` : `exit code ${code}`));
  return closed.catch((error: NodeJS.ErrnoException) => error.code ?? error.message);
}
