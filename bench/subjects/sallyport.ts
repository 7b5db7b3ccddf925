/**
 * Sallyport itself: `relay serve` and `tunnel up` as the two processes that people run, set up by their own verbs.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RELAY_HOST, VISITOR_HOST } from '../certificate.js';
import type { Program } from '../programs.js';
import type { BenchWorld } from '../world.js';
import type { Subject } from './subject.js';

const OWN_BUILD = fileURLToPath(new URL('../../', import.meta.url));

/** Starts it; ended with the world. `build` is the folder of another build to compare with. */
export async function startSallyport(world: BenchWorld, name = 'sallyport', build = OWN_BUILD): Promise<Subject> {
  const sallyport = new SallyportSetup(world, name, resolve(build));
  const { relay, port } = await sallyport.startRelay();
  const client = await sallyport.startClient(port);
  const parts = [
    { name: 'relay', pid: relay.pid },
    { name: 'client', pid: client.pid },
  ];
  return { name, what: 'relay and client', port, parts };
}

class SallyportSetup {
  readonly #world: BenchWorld;
  readonly #name: string;
  readonly #build: string;
  readonly #folder: string;

  constructor(world: BenchWorld, name: string, build: string) {
    this.#world = world;
    this.#name = name;
    this.#build = build;
    this.#folder = join(world.folder, name);
    mkdirSync(this.#folder);
  }

  async startRelay(): Promise<{ relay: Program; port: number }> {
    const { cert, key } = this.#world.certificate;
    const config = `domain: ${RELAY_HOST}
listen: { https: "127.0.0.1:0", http: off, admin: off }
state_dir: state
tls:
  mode: files
  certificates:
    - { cert_file: ${cert}, key_file: ${key} }
`;
    const file = this.#writeConfig('relay.yaml', config);
    await this.#createToken(file);
    const relay = this.#start('relay-server', 'relay', ['serve', '--config', file]);
    const listening = JSON.parse(await relay.line('"event":"listening"')) as { https: string };
    return { relay, port: Number(listening.https.split(':').at(-1)) };
  }

  async startClient(port: number): Promise<Program> {
    const config = `relay_url: https://${RELAY_HOST}:${port}
relay_address: "127.0.0.1:${port}"
relay_ca_file: ${this.#world.certificate.cert}
token_file: token
tunnels:
  - { name: app, host: ${VISITOR_HOST}, origin: "http://127.0.0.1:${this.#world.originPort}" }
`;
    const file = this.#writeConfig('tunnel.yaml', config);
    const client = this.#start('tunnel-client', 'client', ['up', '--json', '--config', file]);
    await client.line('"event":"up"');
    return client;
  }

  async #createToken(configFile: string): Promise<void> {
    const main = join(this.#build, 'relay-server', 'main.js');
    const args = ['token', 'create', 'bench', '--host', VISITOR_HOST, '--json', '--config', configFile];
    const issued = await this.#world.programs.run(process.execPath, [main, ...args], { timeoutMs: 10_000 });
    const { token } = JSON.parse(issued) as { token: string };
    writeFileSync(join(this.#folder, 'token'), token, { mode: 0o600 });
  }

  #start(program: string, part: string, args: readonly string[]): Program {
    const main = join(this.#build, program, 'main.js');
    const flags = this.#world.nodeFlags(`${this.#name}-${part}`);
    // Its own runtime folder: the status socket of a client that runs on this machine stays where it is.
    return this.#world.programs.start(process.execPath, [...flags, main, ...args], { XDG_RUNTIME_DIR: this.#folder });
  }

  #writeConfig(name: string, text: string): string {
    const file = join(this.#folder, name);
    writeFileSync(file, text);
    this.#world.configs.set(`${this.#name} ${name}`, text);
    return file;
  }
}
