/** Machines of a small internet, as network namespaces of this one (Linux, root): gone when the test ends. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { requireTool, skipFor } from './require-tool.js';

const run = promisify(execFile);

export class NetworkNamespace {
  readonly name: string;
  readonly #ip: string;

  private constructor(name: string, ip: string) {
    this.name = name;
    this.#ip = ip;
  }

  /** One namespace for each of `names`, with loopback; undefined when that cannot be, and the test is marked skipped. */
  static async make<Name extends string>(
    t: TestContext,
    names: readonly Name[],
  ): Promise<Record<Name, NetworkNamespace> | undefined> {
    const ip = requireTool(t, 'ip', 'iproute2');
    if (ip === undefined) return undefined;
    const run = randomBytes(4).toString('hex');
    const made = names.map((name) => [name, new NetworkNamespace(`sally-${run}-${name}`, ip)] as const);
    for (const [, namespace] of made)
      t.after(() => namespace.#ipCommand('netns', 'del', namespace.name).catch(() => {}));
    try {
      for (const [, namespace] of made) {
        await namespace.#ipCommand('netns', 'add', namespace.name);
        await namespace.exec('ip', 'link', 'set', 'lo', 'up');
      }
    } catch (error) {
      skipFor(t, `network namespaces need root on Linux: ${String(error).split('\n')[1] ?? ''}`);
      return undefined;
    }
    return Object.fromEntries(made) as Record<Name, NetworkNamespace>;
  }

  /** What runs a command on this machine. */
  get wrapper(): readonly string[] {
    return [this.#ip, 'netns', 'exec', this.name];
  }

  /** Runs a command to its end; resolves with its stdout, rejects when it fails. */
  async exec(...command: readonly string[]): Promise<string> {
    const [file = '', ...args] = [...this.wrapper, ...command];
    return (await run(file, args, { timeout: 20_000 })).stdout;
  }

  /** A cable between two machines; the addresses are written `192.0.2.1/24`. */
  async connect(device: string, address: string, peer: NetworkNamespace, peerDevice: string, peerAddress: string) {
    const ends = ['netns', this.name, 'type', 'veth', 'peer', 'name', peerDevice, 'netns', peer.name];
    await this.#ipCommand('link', 'add', device, ...ends);
    await this.#up(device, address);
    await peer.#up(peerDevice, peerAddress);
  }

  async #up(device: string, address: string): Promise<void> {
    await this.exec('ip', 'address', 'add', address, 'dev', device);
    await this.exec('ip', 'link', 'set', device, 'up');
  }

  #ipCommand(...args: readonly string[]): Promise<unknown> {
    return run(this.#ip, args, { timeout: 20_000 });
  }
}
