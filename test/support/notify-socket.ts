/**
 * A service manager for tests, in two parts: a notification socket whose messages are read (systemd-socket-activate holds
 * it: Node has no datagram unix sockets), and the environment of a service that is watched.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { requireTool } from './require-tool.js';
import { temporaryFolder } from './temporary-folder.js';
import { ToolProcess } from './tool-process.js';
import { until } from './within.js';

export class NotifySocket {
  /** What a service needs in its environment. */
  readonly env: NodeJS.ProcessEnv;
  readonly #log: string;

  private constructor(path: string, log: string) {
    this.env = { NOTIFY_SOCKET: path };
    this.#log = log;
  }

  /** Undefined when systemd is not installed, and the test is marked skipped. */
  static start(t: TestContext): NotifySocket | undefined {
    const activate = requireTool(t, 'systemd-socket-activate', 'systemd');
    if (activate === undefined || requireTool(t, 'systemd-notify', 'systemd') === undefined) return undefined;
    const folder = temporaryFolder(t);
    const path = join(folder, 'notify');
    const log = join(folder, 'messages');
    // Each read of cat is one datagram; of the descriptor that a barrier brings it knows nothing, which answers it.
    new ToolProcess(t, activate, ['--datagram', '--listen', path, 'sh', '-c', `exec cat <&3 >${log}`]);
    t.after(() => rmSync(path, { force: true }));
    return new NotifySocket(path, log);
  }

  /** Everything that was said so far; messages follow each other without a gap. */
  get said(): string {
    try {
      return readFileSync(this.#log, 'utf8');
    } catch {
      return '';
    }
  }

  /** Resolves with the first match of `pattern` after the first `from` characters. */
  hears(pattern: RegExp, from = 0, ms?: number): Promise<RegExpExecArray> {
    return until(`message ${pattern}; said: ${this.said}`, () => pattern.exec(this.said.slice(from)) ?? undefined, ms);
  }
}
