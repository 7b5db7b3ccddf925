/**
 * SoakWorld: what a soak runs: a relay and a client as real processes, the network between them, the origin. Both programs
 * can be killed and started again; the folder of both goes with the soak.
 *
 * Owns: the processes, by pid, and everything else here. Owned by: main.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { makeGrants } from '../../relay-server/sessions/grants.js';
import { TokenStore } from '../../relay-server/sessions/token-store.js';
import { TunnelError } from '../../shared/errors.js';
import { makePrivateFolder } from '../../shared/files/atomic-file.js';
import { Forwarder } from './forwarder.js';
import { SoakOrigin } from './origin.js';

export const HOST = 'app.relay.localhost';
export type ProgramName = 'relay' | 'tunnel';

const READY_MS = 60_000;
const MAINS = { relay: '../../relay-server/main.js', tunnel: '../../tunnel-client/main.js' } as const;
const READY_TEXTS = { relay: '"event":"listening"', tunnel: '"event":"up"' } as const;

export class SoakWorld {
  readonly origin = new SoakOrigin();
  readonly ports: { readonly https: number; readonly tcp: number };
  readonly #folder: string;
  readonly #programs = new Map<ProgramName, ChildProcess>();
  #network: Forwarder | undefined;

  private constructor(folder: string, ports: { readonly https: number; readonly tcp: number }) {
    this.#folder = folder;
    this.ports = ports;
  }

  /** Everything runs when this resolves. */
  static async start(): Promise<SoakWorld> {
    const [https = 0, tcp = 0] = await freePorts(2);
    const world = new SoakWorld(mkdtempSync(join(tmpdir(), 'sallyport-soak-')), { https, tcp });
    try {
      await world.origin.start();
      world.#network = await Forwarder.listen(https);
      world.#writeRelayConfig();
      await world.run('relay');
      world.#writeTunnelConfig(world.#network.port);
      await world.run('tunnel');
      return world;
    } catch (error) {
      await world.close();
      throw error;
    }
  }

  get network(): Forwarder {
    if (this.#network === undefined) throw new TunnelError('INTERNAL', 'Cannot use the network: it is not there yet');
    return this.#network;
  }

  /** PEM of the relay's own CA. */
  get ca(): string {
    return readFileSync(join(this.#folder, 'state', 'local-ca', 'ca.pem'), 'utf8');
  }

  /** Undefined while the program does not run. */
  pidOf(name: ProgramName): number | undefined {
    return this.#programs.get(name)?.pid;
  }

  /** Starts a program. Rejects when it does not come up. */
  async run(name: ProgramName): Promise<void> {
    const verb = name === 'relay' ? ['serve'] : ['up', '--json'];
    const args = [fileURLToPath(new URL(MAINS[name], import.meta.url)), ...verb];
    const child = spawn(process.execPath, [...args, '--config', join(this.#folder, `${name}.yaml`)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, XDG_RUNTIME_DIR: this.#folder },
    });
    this.#programs.set(name, child);
    await readiness(child, name, join(this.#folder, `${name}.log`));
  }

  /** Ends a program and waits for its end. */
  async end(name: ProgramName, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#programs.get(name);
    this.#programs.delete(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  /** Safe any number of times. */
  async close(): Promise<void> {
    await this.end('tunnel', 'SIGKILL');
    await this.end('relay', 'SIGKILL');
    this.#network?.close();
    this.origin.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #writeRelayConfig(): void {
    const { https, tcp } = this.ports;
    const stateDir = join(this.#folder, 'state');
    makePrivateFolder(stateDir);
    const token = TokenStore.open(stateDir).create('soak', makeGrants([HOST], [String(tcp)]));
    writeFileSync(join(this.#folder, 'token'), token.text.reveal(), { mode: 0o600 });
    const lines = [
      'domain: relay.localhost',
      `listen: { https: "127.0.0.1:${https}", http: off, admin: off }`,
      'state_dir: state',
      'drain_timeout: 2s',
      'access_log: { to: file }',
      '',
    ];
    writeFileSync(join(this.#folder, 'relay.yaml'), lines.join('\n'));
  }

  #writeTunnelConfig(networkPort: number): void {
    const { http, tcp } = this.origin.ports;
    writeFileSync(join(this.#folder, 'ca.pem'), this.ca);
    const lines = [
      `relay_url: https://relay.localhost:${this.ports.https}`,
      `relay_address: "127.0.0.1:${networkPort}"`,
      'relay_ca_file: ca.pem',
      'token_file: token',
      'client_id: soak',
      'tunnels:',
      `  - { name: app, host: ${HOST}, origin: "http://127.0.0.1:${http}" }`,
      `  - { name: raw, tcp_port: ${this.ports.tcp}, origin: "tcp://127.0.0.1:${tcp}" }`,
      '',
    ];
    writeFileSync(join(this.#folder, 'tunnel.yaml'), lines.join('\n'));
  }
}

/** Resolves when the program says that it is ready; what it says goes to a file from then on. */
async function readiness(child: ChildProcess, name: ProgramName, logFile: string): Promise<void> {
  const log = createWriteStream(logFile, { flags: 'a' });
  child.once('close', () => log.end());
  const ready = new Promise<void>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on('line', (line) => {
        if (log.writable) log.write(`${line}\n`);
        if (line.includes(READY_TEXTS[name])) resolve();
      });
    }
  });
  const timer = AbortSignal.timeout(READY_MS);
  const failed = Promise.race([once(child, 'exit'), once(timer, 'abort')]).then(() => {
    throw new TunnelError('INTERNAL', `Cannot go on: ${name} did not come up. Its log is ${logFile}`);
  });
  failed.catch(() => {});
  await Promise.race([ready, failed]);
}

/** Free now, and likely still in a moment. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}
