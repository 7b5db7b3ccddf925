/**
 * ChildProgram: one of the two real programs (`relay`, `tunnel`) as a child process of the quickstart: starts it, hears
 * its events, keeps its log, tells why it ended, and ends it.
 *
 *   running → ended        stop: SIGTERM, and SIGKILL after 5 s
 *
 * The child is the leader of a process group of its own, so that Ctrl-C on a terminal reaches the quickstart alone, which
 * then ends its children in order; follow-parent.ts ends them when the quickstart cannot.
 *
 * Owns: the process, its log file. Owned by: the quickstart.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { printable } from '../../shared/printable.js';
import { LogFile } from './log-file.js';

const PATIENCE_MS = 5_000;
const FOLLOW_PARENT = new URL('./follow-parent.js', import.meta.url).href;

export interface ChildProgramOptions {
  /** `relay` or `tunnel`, for people. */
  readonly name: string;
  /** Its main module. */
  readonly main: URL;
  readonly args: readonly string[];
  /** Variables beside those of this process; undefined removes one. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly logFile: string;
}

export interface Ending {
  /** The exit code; 128 and the signal's number when a signal ended it, as in a shell. */
  readonly code: number;
  /** One line: which program, how it ended, its last words, where to read more. */
  readonly text: string;
}

/** An event of a program, as it wrote it. */
export type ProgramEvent = Readonly<Record<string, unknown>>;

export class ChildProgram {
  /** Resolves when the process is gone and everything it said was read. */
  readonly ended: Promise<Ending>;
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #log: LogFile;
  readonly #waiting = new Map<string, (event: ProgramEvent) => void>();
  #lastWords = '';

  constructor(options: ChildProgramOptions) {
    this.#name = options.name;
    this.#log = new LogFile(options.logFile);
    const args = ['--import', FOLLOW_PARENT, fileURLToPath(options.main), ...options.args];
    this.#child = spawn(process.execPath, args, { detached: true, env: { ...process.env, ...options.env } });
    this.ended = this.#untilEnded();
    for (const output of [this.#child.stdout, this.#child.stderr]) {
      if (output !== null) createInterface({ input: output }).on('line', (line) => this.#onLine(line));
    }
  }

  /** The next line of JSON whose `event` is `name`; never, when the program ends before. */
  event(name: string): Promise<ProgramEvent> {
    return new Promise((resolve) => this.#waiting.set(name, resolve));
  }

  /** Ends the program. Safe in any state, any number of times. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const impatience = setTimeout(() => this.#child.kill('SIGKILL'), PATIENCE_MS);
    await this.ended;
    clearTimeout(impatience);
  }

  #untilEnded(): Promise<Ending> {
    return new Promise((resolve) => {
      const end = (code: number, how: string) => {
        this.#log.close();
        const words = this.#lastWords === '' ? '' : ` ${this.#lastWords}`;
        resolve({ code, text: `${this.#name} ended with ${how}.${words} Its log: ${this.#log.path}` });
      };
      this.#child.once('error', (error) => end(1, error.message));
      this.#child.once('close', (code, signal) => {
        if (signal !== null) end(128 + constants.signals[signal], signal);
        else end(code ?? 0, `code ${code}`);
      });
    });
  }

  #onLine(line: string): void {
    this.#log.write(line);
    const event = parseEvent(line);
    this.#lastWords = printable(event === undefined ? line : String(event.message ?? event.msg ?? ''));
    if (typeof event?.event !== 'string') return;
    this.#waiting.get(event.event)?.(event);
    this.#waiting.delete(event.event);
  }
}

/** The object in a line of JSON; undefined for any other line. */
function parseEvent(line: string): ProgramEvent | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
