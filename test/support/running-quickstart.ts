/** The quickstart as a person starts it: a process in a folder of its own, read by what it prints. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { LookupFunction } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runTool, type ToolOutput, ToolProcess } from './tool-process.js';
import { until, within } from './within.js';

const PROGRAM = fileURLToPath(new URL('../../relay-server/quickstart.js', import.meta.url));
const END_MS = 15_000;

/** For Node, which asks the system, and not every system knows names under .localhost. */
const lookup: LookupFunction = (_hostname, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]);

export class RunningQuickstart {
  readonly folder: string;
  readonly process: ToolProcess;

  private constructor(t: TestContext, folder: string) {
    this.folder = folder;
    const args = ['-c', 'cd "$1" && exec "$2" "$3"', 'sh', folder, process.execPath, PROGRAM];
    this.process = new ToolProcess(t, 'sh', args, { SALLYPORT_TOKEN: 'of another relay' });
  }

  /** Resolves once it has printed its last line. */
  static async start(t: TestContext, folder: string): Promise<RunningQuickstart> {
    const quickstart = new RunningQuickstart(t, folder);
    await within('quickstart is up', quickstart.process.line('Ctrl-C ends everything'));
    return quickstart;
  }

  get text(): string {
    return this.process.lines.join('\n');
  }

  /** The public URL that it printed. */
  get url(): URL {
    return new URL(/https:\/\/\S+/.exec(this.text)?.[0] ?? assert.fail(this.text));
  }

  get ca(): string {
    return readFileSync(join(this.folder, '.sallyport/state/local-ca/ca.pem'), 'utf8');
  }

  /** How a visitor in this process gets there. */
  get visitor(): { readonly ca: string; readonly lookup: LookupFunction; readonly agent: false } {
    return { ca: this.ca, lookup, agent: false };
  }

  /** Process ids of quickstart, relay and client. */
  get pids(): number[] {
    return [this.process.child.pid ?? 0, this.pidOf('relay'), this.pidOf('tunnel')];
  }

  /** From the program's log. */
  pidOf(program: 'relay' | 'tunnel'): number {
    const log = readFileSync(join(this.folder, `.sallyport/${program}.log`), 'utf8');
    return Number(/"pid":(\d+)/.exec(log)?.[1] ?? assert.fail(log));
  }

  /** Runs a line that it printed, as a person would: in a shell, in the same folder. */
  shell(t: TestContext, line: string): Promise<ToolOutput> {
    return runTool(t, 'sh', ['-c', `cd "$1"; export no_proxy='*'; ${line}`, 'sh', this.folder]);
  }

  /** The printed line that contains `text`, from there to its end. */
  printed(text: string): string {
    const line = this.process.lines.find((one) => one.includes(text)) ?? assert.fail(`no ${text} in ${this.text}`);
    return line.slice(line.indexOf(text));
  }

  /** Sends a signal; resolves with the exit code once none of its processes is left. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    const { pids } = this;
    this.process.child.kill(signal);
    const code = await within('quickstart ends', this.process.closed, END_MS);
    await allGone(pids);
    return code;
  }
}

/** Resolves once none of the processes exists. */
export function allGone(pids: readonly number[]): Promise<true> {
  return until(`processes ${pids.join(', ')} are gone`, () => (pids.some(isAlive) ? undefined : true), END_MS);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
