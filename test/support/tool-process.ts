/** Real tools (nginx, redis-server, curl …) as child processes: bounded in time and ended with the test that started them. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';

/** Longest life of a tool that forgets to end; the tests that use one are much shorter. */
const LIFE_MS = 120_000;

export interface ToolOutput {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a tool to its end, with `input` on its stdin. */
export async function runTool(
  t: Pick<TestContext, 'after'>,
  path: string,
  args: readonly string[],
  input: string | Buffer = '',
): Promise<ToolOutput> {
  const tool = new ToolProcess(t, path, args);
  const output: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
  tool.child.stdout.on('data', (piece: Buffer) => output.stdout.push(piece));
  tool.child.stderr.on('data', (piece: Buffer) => output.stderr.push(piece));
  tool.child.stdin.end(input);
  const code = await tool.closed;
  return { code, stdout: Buffer.concat(output.stdout).toString(), stderr: Buffer.concat(output.stderr).toString() };
}

/** A tool that runs until its test ends. */
export class ToolProcess {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  /** Everything it printed, line by line, from the first call of `line`. */
  readonly lines: string[] = [];
  /** Its exit code once its output is complete; null when a signal ended it. */
  readonly closed: Promise<number | null>;
  readonly #waiting = new Set<() => void>();
  #isReading = false;

  constructor(t: Pick<TestContext, 'after'>, path: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.child = spawn(path, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      timeout: LIFE_MS,
      killSignal: 'SIGKILL',
    });
    // A tool that ends before it read its input: its exit code says so.
    this.child.stdin.on('error', () => {});
    this.closed = once(this.child, 'close').then(([code]) => code as number | null);
    t.after(async () => {
      this.child.kill('SIGKILL');
      await this.closed;
    });
  }

  /** The first line that contains `text`, now or later. @throws when the tool ends before. */
  line(text: string): Promise<string> {
    this.#read();
    const wait = new Promise<string>((resolve) => {
      const check = () => {
        const found = this.lines.find((line) => line.includes(text));
        if (found !== undefined) resolve(found);
      };
      this.#waiting.add(check);
      check();
    });
    const ended = this.closed.then((code) => {
      const found = this.lines.find((line) => line.includes(text));
      if (found !== undefined) return found;
      throw new Error(`${this.child.spawnfile} ended with ${code} before "${text}":\n${this.lines.join('\n')}`);
    });
    return Promise.race([wait, ended]);
  }

  /** The next line that contains `text`, from now on. */
  async nextLine(text: string): Promise<void> {
    const count = () => this.lines.filter((line) => line.includes(text)).length;
    this.#read();
    const known = count();
    await new Promise<void>((resolve) => {
      const check = () => {
        if (count() === known) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
    });
  }

  #read(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    for (const stream of [this.child.stdout, this.child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line);
        for (const check of [...this.#waiting]) check();
      });
    }
  }
}
