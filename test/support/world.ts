/**
 * A small world for tests: a relay and clients on loopback with real sockets on free ports, in this process (fast, and
 * its handles can be counted) or as real processes (for kill -9). Everything ends with the test.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Relay, type RelayOptions } from '../../relay-server/relay.js';
import { parseRelayConfig, type RelayConfig } from '../../relay-server/relay-config.js';
import { makeGrants } from '../../relay-server/sessions/grants.js';
import { TokenStore } from '../../relay-server/sessions/token-store.js';
import { TLS_WORKER_VERB } from '../../relay-server/tls-worker-command.js';
import { type Log, silentLog } from '../../shared/log.js';
import type { Secret } from '../../shared/secret.js';
import { Client, type ClientEvents } from '../../tunnel-client/client.js';
import { parseTunnelConfig } from '../../tunnel-client/tunnel-config.js';
import { temporaryFolder } from './temporary-folder.js';

export const DOMAIN = 'relay.localhost';
const program = (name: string) => fileURLToPath(new URL(`../../${name}/main.js`, import.meta.url));
export const RELAY_PROGRAM = program('relay-server');
export const TUNNEL_PROGRAM = program('tunnel-client');

export interface RelayWorldOptions {
  /** Lines for relay.yaml, such as `limits: { head_timeout: 500ms }`. */
  readonly yaml?: string;
  /** Whether visitors are offered HTTP/2; `off`, because curl and browsers would take it and most tests mean HTTP/1.1. */
  readonly http2?: 'auto' | 'on' | 'off';
  readonly hosts?: readonly string[];
  readonly tcpPorts?: readonly string[];
  readonly log?: Log;
  /** Ports; 0 lets the system choose. A relay that is to be restarted needs fixed ones. */
  readonly httpsPort?: number;
  readonly httpPort?: number;
  /** Verbs of `relay` that ask a running one need to know it. */
  readonly adminPort?: number;
  /** What replaces parts of a relay in this process. */
  readonly relay?: RelayOptions;
}

/** Where a relay keeps its things: config text, state and one token named `home`. */
export class RelayHome {
  readonly folder: string;
  readonly config: RelayConfig;
  readonly configFile: string;
  readonly token: Secret;
  readonly tokens: TokenStore;
  readonly #options: RelayWorldOptions;

  constructor(t: TestContext, options: RelayWorldOptions = {}) {
    this.#options = options;
    this.folder = temporaryFolder(t);
    this.configFile = join(this.folder, 'relay.yaml');
    const text = [
      `domain: ${DOMAIN}`,
      `listen: { https: "127.0.0.1:${options.httpsPort ?? 0}", http: "127.0.0.1:${options.httpPort ?? 0}", admin: "127.0.0.1:${options.adminPort ?? 0}" }`,
      'state_dir: state',
      `http2: ${options.http2 ?? 'off'}`,
      options.yaml ?? '',
      '',
    ].join('\n');
    writeFileSync(this.configFile, text);
    this.config = parseRelayConfig(text, this.configFile);
    mkdirSync(this.config.stateDir, { mode: 0o700, recursive: true });
    this.tokens = TokenStore.open(this.config.stateDir);
    const grants = makeGrants(options.hosts ?? [`*.${DOMAIN}`], options.tcpPorts ?? []);
    this.token = this.tokens.create('home', grants).text;
  }

  /** PEM of the local CA; only after the relay started once. */
  get ca(): string {
    return readFileSync(this.caFile, 'utf8');
  }

  get caFile(): string {
    return join(this.config.stateDir, 'local-ca', 'ca.pem');
  }

  /** Starts the relay in this process; its TLS workers, where the config wants some, are others. */
  async start(t: TestContext): Promise<RunningRelay> {
    const options = { workerCommand: [process.execPath, RELAY_PROGRAM, TLS_WORKER_VERB], ...this.#options.relay };
    const relay = await Relay.start(this.config, this.#options.log ?? silentLog, options);
    t.after(() => relay.close());
    return new RunningRelay(this, relay);
  }
}

export class RunningRelay {
  readonly home: RelayHome;
  readonly relay: Relay;

  constructor(home: RelayHome, relay: Relay) {
    this.home = home;
    this.relay = relay;
  }

  /** The port of `https`, `http` or `admin`. */
  port(name: 'https' | 'http' | 'admin'): number {
    const address = this.relay.listeners.find((listener) => listener.name === name)?.address ?? '';
    return Number(address.slice(address.lastIndexOf(':') + 1));
  }

  /** Runs a client in this process and resolves when all its tunnels are up. */
  async client(t: TestContext, tunnels: readonly string[], options: ClientWorldOptions = {}): Promise<RunningClient> {
    return startClient(t, this.port('https'), this.home, tunnels, options);
  }
}

export interface ClientWorldOptions {
  /** Whether visitors of end-to-end tunnels are offered HTTP/2; `off`, as for relays. */
  readonly http2?: 'auto' | 'on' | 'off';
  readonly token?: Secret;
  readonly clientId?: string;
  /** More lines for tunnel.yaml. */
  readonly yaml?: string;
  /** Resolves at once instead of waiting for the tunnels. */
  readonly noWait?: boolean;
  readonly log?: Log;
}

export interface RunningClient {
  readonly client: Client;
  /** What happened so far: `up NAME`, `denied NAME CODE`, `down NAME CODE`, `certificate NAME STATE`, `reconnecting CODE`. */
  readonly events: string[];
  /** Settles with the client. */
  readonly done: Promise<void>;
  /** Resolves once an event that starts with `text` has happened, counted from the `count`th. */
  event(text: string, count?: number): Promise<void>;
}

/** `tunnels` are YAML flow maps: `{ name: app, host: app.relay.localhost, origin: "http://127.0.0.1:1" }`. */
export async function startClient(
  t: TestContext,
  port: number,
  home: RelayHome,
  tunnels: readonly string[],
  options: ClientWorldOptions = {},
): Promise<RunningClient> {
  const folder = temporaryFolder(t);
  const file = writeTunnelConfig(folder, port, home, tunnels, options);
  const config = parseTunnelConfig(readFileSync(file, 'utf8'), file, {}, {});
  const events: string[] = [];
  const waiting = new Set<() => void>();
  const note = (event: string) => {
    events.push(event);
    for (const check of [...waiting]) check();
  };
  const handlers: ClientEvents = {
    up: ({ name }) => note(`up ${name}`),
    denied: ({ name, code }) => note(`denied ${name} ${code}`),
    down: ({ name, code }) => note(`down ${name} ${code}`),
    certificate: ({ name, state }) => note(`certificate ${name} ${state}`),
    reconnecting: ({ code }) => note(`reconnecting ${code}`),
    changed: () => {},
  };
  const client = new Client({
    config,
    clientId: options.clientId ?? 'test-client',
    once: false,
    log: options.log ?? silentLog,
    events: handlers,
  });
  const done = client.run();
  done.catch(() => {});
  // Not awaited: its good-bye takes a moment in which sockets that visitors left open would be reset.
  t.after(() => client.close());
  const event = (text: string, count = 1) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (events.filter((seen) => seen.startsWith(text)).length < count) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      check();
    });
  if (!options.noWait) await Promise.race([Promise.all(config.tunnels.map(({ name }) => event(`up ${name}`))), done]);
  return { client, events, done, event };
}

/** Writes a tunnel.yaml with its CA and token beside it, and returns its path. */
export function writeTunnelConfig(
  folder: string,
  port: number,
  home: RelayHome,
  tunnels: readonly string[],
  options: ClientWorldOptions = {},
): string {
  writeFileSync(join(folder, 'ca.pem'), home.ca);
  writeFileSync(join(folder, 'token'), (options.token ?? home.token).reveal(), { mode: 0o600 });
  const file = join(folder, 'tunnel.yaml');
  const text = [
    `relay_url: https://${DOMAIN}:${port}`,
    `relay_address: "127.0.0.1:${port}"`,
    'relay_ca_file: ca.pem',
    'token_file: token',
    `http2: ${options.http2 ?? 'off'}`,
    options.clientId === undefined ? '' : `client_id: ${options.clientId}`,
    options.yaml ?? '',
    'tunnels:',
    ...tunnels.map((tunnel) => `  - ${tunnel}`),
    '',
  ].join('\n');
  writeFileSync(file, text);
  return file;
}

/** A program of ours as a real process; ended with the test. */
export class RunningProgram {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  readonly exited: Promise<number | null>;
  readonly #waiting = new Set<() => void>();

  /** `wrapper` is a command that runs the command after it, such as `ip netns exec NAME`. */
  constructor(
    t: TestContext,
    file: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
    wrapper: readonly string[] = [],
  ) {
    const [command = process.execPath, ...rest] = [...wrapper, process.execPath, file, ...args];
    this.child = spawn(command, rest, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.exited = once(this.child, 'exit').then(([code]) => code as number | null);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => this.#onLine(line));
    }
    t.after(async () => {
      this.child.kill('SIGKILL');
      await this.exited;
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** The first line (of stdout or stderr) that contains `text`, now or later; rejects when the process ends before. */
  async line(text: string): Promise<string> {
    const found = () => this.lines.find((line) => line.includes(text));
    const wait = new Promise<string>((resolve) => {
      const check = () => {
        const line = found();
        if (line === undefined) return;
        this.#waiting.delete(check);
        resolve(line);
      };
      this.#waiting.add(check);
      check();
    });
    const ended = this.exited.then((code) => {
      const line = found();
      if (line !== undefined) return line;
      throw new Error(`process ended with ${code} before it said "${text}":\n${this.lines.join('\n')}`);
    });
    return Promise.race([wait, ended]);
  }

  /** Ends it without a word, and waits for that. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  #onLine(line: string): void {
    this.lines.push(line);
    for (const check of [...this.#waiting]) check();
  }
}

/** `relay serve` as a process; resolves with its addresses once it listens. */
export async function startRelayProcess(
  t: TestContext,
  home: RelayHome,
  env: NodeJS.ProcessEnv = {},
): Promise<{ program: RunningProgram; https: number; admin: number }> {
  const program = new RunningProgram(t, RELAY_PROGRAM, ['serve', '--config', home.configFile], env);
  const listening = JSON.parse(await program.line('"event":"listening"'));
  const portOf = (address: string) => Number(address.slice(address.lastIndexOf(':') + 1));
  return { program, https: portOf(listening.https), admin: portOf(listening.admin) };
}

/** `tunnel up --json` as a process; resolves once `tunnels` tunnels are up. */
export async function startTunnelProcess(
  t: TestContext,
  port: number,
  home: RelayHome,
  tunnels: readonly string[],
  options: ClientWorldOptions = {},
): Promise<RunningProgram> {
  const file = writeTunnelConfig(temporaryFolder(t), port, home, tunnels, options);
  const env = { XDG_RUNTIME_DIR: temporaryFolder(t) };
  const program = new RunningProgram(t, TUNNEL_PROGRAM, ['up', '--json', '--config', file], env);
  if (!options.noWait) await program.line('"event":"up"');
  return program;
}
