/**
 * A relay or a client inside a bare Node process that does nothing else: once it is closed, only a handle or timer that
 * it forgot keeps the process alive.
 */
import type { TestContext } from 'node:test';
import { type NodeProcess, startNode } from './node-process.js';
import { within } from './within.js';

/** Obeys lines on stdin: `close` ends the program and lets the process go, `drain` begins its drain. */
const OBEY = `
  import { createInterface } from 'node:readline';
  async function obey(close, drain) {
    for await (const line of createInterface({ input: process.stdin })) {
      if (line === 'drain') drain();
      if (line === 'close') break;
    }
    await close();
    process.stdin.destroy();
    setTimeout(() => console.log(JSON.stringify(process.getActiveResourcesInfo())), 1_000).unref();
  }
`;

const RELAY = `${OBEY}
  const { Relay } = await load('relay-server/relay.js');
  const { readRelayConfig } = await load('relay-server/relay-config.js');
  const { silentLog } = await load('shared/log.js');
  const relay = await Relay.start(readRelayConfig(process.argv[1]), silentLog);
  console.log(relay.listeners.map(({ address }) => address.split(':').at(-1)).join(' '));
  await obey(() => relay.close(), () => void relay.drain());
`;

const CLIENT = `${OBEY}
  const { Client } = await load('tunnel-client/client.js');
  const { readTunnelConfig } = await load('tunnel-client/tunnel-config.js');
  const { silentLog } = await load('shared/log.js');
  const say = (text) => () => console.log(text);
  const events = { up: say('up'), denied: say('denied'), down: () => {}, reconnecting: say('reconnecting'), changed: () => {} };
  const config = readTunnelConfig(process.argv[1], {});
  const client = new Client({ config, clientId: 'child', once: false, log: silentLog, events });
  const done = client.run().then(say('stopped'), (error) => console.log('failed ' + error.code));
  await obey(() => { client.close(); return done; }, () => void client.drain());
`;

export class ProgramChild {
  readonly #process: NodeProcess;

  private constructor(t: TestContext, code: string, file: string) {
    this.#process = startNode(t, code, [file]);
  }

  /** A relay with this config file. */
  static async relay(t: TestContext, file: string): Promise<{ child: ProgramChild; https: number; admin: number }> {
    const child = new ProgramChild(t, RELAY, file);
    const [https = 0, , admin = 0] = (await child.line()).split(' ').map(Number);
    return { child, https, admin };
  }

  /** A client with this config file. Its lines are its events. */
  static client(t: TestContext, file: string): ProgramChild {
    return new ProgramChild(t, CLIENT, file);
  }

  line(): Promise<string> {
    return this.#process.line();
  }

  say(command: 'drain'): void {
    this.#process.child.stdin?.write(`${command}\n`);
  }

  /** Closes the program; rejects when its process does not end by itself in `ms`. Resolves with how long that took. */
  async close(ms: number): Promise<number> {
    const beganAtMs = performance.now();
    this.#process.child.stdin?.write('close\n');
    let newest = 'nothing';
    const lines = (async () => {
      for (;;) newest = await this.line();
    })().catch(() => {});
    try {
      const end = await within('end of the process', this.#process.ended(), ms);
      if (end !== 0) throw new Error(`process ended with ${end}: ${this.#process.errors()}`);
    } catch (error) {
      throw new Error(`The process is kept alive by ${newest}`, { cause: error });
    }
    await lines;
    return performance.now() - beganAtMs;
  }
}
