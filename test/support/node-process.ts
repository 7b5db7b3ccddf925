/** Another Node process that runs a few lines against this build, for what must hold between processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';

const build = new URL('../../', import.meta.url);

export interface NodeProcess {
  readonly child: ChildProcess;
  /** The next line on stdout. @throws when the process ends before it. */
  line(): Promise<string>;
  /** Everything on stderr so far. */
  errors(): string;
  /** The end: exit code or signal. */
  ended(): Promise<number | NodeJS.Signals | null>;
}

/** Runs `code`, an ES module in which `load(path)` imports a module of this build; killed when the test ends. */
export function startNode(t: Pick<TestContext, 'after'>, code: string, args: readonly string[]): NodeProcess {
  const prelude = `const load = (path) => import(new URL(path, ${JSON.stringify(build.href)}).href);\n`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', prelude + code, '--', ...args]);
  t.after(() => void child.kill('SIGKILL'));
  const end = once(child, 'close');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let errors = '';
  child.stderr.on('data', (text) => {
    errors += text;
  });
  return {
    child,
    line: async () => {
      const { value, done } = await lines.next();
      if (done) throw new Error(`The process ended before its next line: ${errors}`);
      return value;
    },
    errors: () => errors,
    ended: async () => {
      const [code, signal] = await end;
      return code ?? signal;
    },
  };
}
