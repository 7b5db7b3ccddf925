/** A headless Chromium, spoken to over the DevTools protocol on two pipes; its profile is gone with the test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, type X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { getuid } from 'node:process';
import type { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { temporaryFolder } from './temporary-folder.js';

const LIFE_MS = 120_000;

interface Answer {
  readonly id?: number;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

type Waiting = (answer: Answer) => void;

export class Chromium {
  readonly #commands: Writable;
  readonly #waiting = new Map<number, Waiting>();
  #errors = '';
  #text = '';
  #session: string | undefined;

  /**
   * @param trusted the certificate whose key is accepted although no public CA signed it, or a home folder with a database
   *   of CAs (chromium-trust.ts).
   */
  static async start(
    t: Pick<TestContext, 'after'>,
    path: string,
    trusted: X509Certificate | { readonly home: string },
  ): Promise<Chromium> {
    let child: ChildProcess | undefined;
    // Before the profile's own end: a browser that still runs would write it anew.
    t.after(async () => {
      if (child?.kill('SIGKILL')) await once(child, 'close');
    });
    const args = [
      '--headless=new',
      '--remote-debugging-pipe',
      `--user-data-dir=${temporaryFolder(t)}`,
      ...('home' in trusted ? [] : [trustFlag(trusted)]),
      '--host-resolver-rules=MAP *.localhost 127.0.0.1',
      '--no-first-run',
      '--no-proxy-server',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      '--disable-component-update',
      // Chromium refuses to sandbox for root.
      ...(getuid?.() === 0 ? ['--no-sandbox'] : []),
      'about:blank',
    ];
    child = spawn(path, args, {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
      timeout: LIFE_MS,
      killSignal: 'SIGKILL',
      env: { ...process.env, ...('home' in trusted ? { HOME: trusted.home } : {}) },
    });
    const browser = new Chromium(child);
    await browser.#attach();
    return browser;
  }

  private constructor(child: ChildProcess) {
    const [, , errors, commands, answers] = child.stdio as [null, null, Readable, Writable, Readable];
    this.#commands = commands;
    commands.on('error', () => {});
    errors.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    answers.setEncoding('utf8').on('data', (text: string) => this.#read(text));
    child.on('close', (code) => this.#onClose(code));
  }

  /** Opens a page in the one tab; resolves when its document was asked for. @throws when it cannot be loaded. */
  async open(url: string): Promise<void> {
    const { errorText } = await this.#ask('Page.navigate', { url });
    if (errorText !== undefined) throw new Error(`Cannot open ${url}: ${errorText}`);
  }

  /** What an expression in the page comes to, promises awaited. */
  async evaluate(expression: string): Promise<unknown> {
    const { result, exceptionDetails } = await this.#ask('Runtime.evaluate', {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails !== undefined) throw new Error(`Cannot evaluate: ${JSON.stringify(exceptionDetails)}`);
    return (result as { value?: unknown }).value;
  }

  async #attach(): Promise<void> {
    const { targetInfos } = await this.#ask('Target.getTargets', {});
    const tab = (targetInfos as { type: string; targetId: string }[]).find(({ type }) => type === 'page');
    const { sessionId } = await this.#ask('Target.attachToTarget', { targetId: tab?.targetId, flatten: true });
    this.#session = String(sessionId);
  }

  async #ask(method: string, params: object): Promise<Record<string, unknown>> {
    const id = this.#waiting.size + Math.floor(performance.now() * 1_000);
    const answered = new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    const session = this.#session === undefined ? {} : { sessionId: this.#session };
    this.#commands.write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    const { result, error } = await answered;
    if (result === undefined) throw new Error(`Cannot ask Chromium for ${method}: ${error?.message}`);
    return result;
  }

  /** Messages end with NUL. */
  #read(text: string): void {
    const messages = (this.#text + text).split('\0');
    this.#text = messages.pop() ?? '';
    for (const message of messages) {
      const answer = JSON.parse(message) as Answer;
      if (answer.id === undefined) continue;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    }
  }

  #onClose(code: number | null): void {
    const message = `Chromium ended with ${code}: ${this.#errors}`;
    for (const answer of this.#waiting.values()) answer({ error: { message } });
    this.#waiting.clear();
  }
}

function trustFlag(trusted: X509Certificate): string {
  const key = trusted.publicKey.export({ type: 'spki', format: 'der' });
  return `--ignore-certificate-errors-spki-list=${createHash('sha256').update(key).digest('base64')}`;
}
