/**
 * SallyportRelay: `relay serve` as people run it, set up by its own verbs, on one port and one state folder across restarts.
 *
 * Owns: nothing; its process belongs to the scene.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TunnelError } from '../../shared/errors.js';
import { RELAY_HOST } from '../certificate.js';
import { freePort } from '../free-port.js';
import type { Program } from '../programs.js';
import type { Scene } from '../scene.js';
import { type RelayConfigOptions, relayConfig } from './sallyport-config.js';

/** The build that the bench itself belongs to. */
export const OWN_BUILD = fileURLToPath(new URL('../../', import.meta.url));

export interface SallyportRelayOptions extends RelayConfigOptions {
  /** Of the subject: unique in the scene. */
  readonly name: string;
  /** The dist folder whose programs run. */
  readonly build?: string;
  /** For the Node of both programs, beside those of the run. */
  readonly nodeFlags?: readonly string[];
}

export class SallyportRelay {
  readonly name: string;
  readonly port: number;
  /** Where the token of all its clients is, as `token`, and where their configs may be. */
  readonly folder: string;
  readonly #scene: Scene;
  readonly #build: string;
  readonly #configFile: string;
  readonly #nodeFlags: readonly string[];
  #program: Program | undefined;

  private constructor(scene: Scene, port: number, options: SallyportRelayOptions) {
    this.name = options.name;
    this.port = port;
    this.folder = join(scene.folder, options.name);
    this.#scene = scene;
    this.#build = resolve(options.build ?? OWN_BUILD);
    this.#nodeFlags = options.nodeFlags ?? [];
    mkdirSync(this.folder);
    const text = relayConfig(port, scene.world.certificate, options);
    this.#configFile = scene.writeConfig(join(options.name, 'relay.yaml'), text);
  }

  /** Sets it up with a token for every hostname, and starts it. */
  static async start(scene: Scene, options: SallyportRelayOptions): Promise<SallyportRelay> {
    const relay = new SallyportRelay(scene, await freePort(), options);
    await relay.#createToken();
    await relay.start();
    return relay;
  }

  get pid(): number {
    return this.#program?.pid ?? 0;
  }

  /** Calls `listener` with each line that its present process says. */
  onLine(listener: (line: string) => void): void {
    this.#program?.onLine(listener);
  }

  /** Starts the process; resolves when it accepts connections. */
  async start(): Promise<void> {
    if (this.#program !== undefined) throw new TunnelError('INTERNAL', `Cannot start ${this.name}: it runs`);
    const program = this.startNode('relay-server', 'relay', ['serve', '--config', this.#configFile]);
    this.#program = program;
    await program.line('"event":"listening"');
  }

  /** Ends the process as an operator would, with a signal, and waits for it. */
  async end(): Promise<void> {
    await this.#program?.end();
    this.#program = undefined;
  }

  /** Starts one of the two programs of the same build. */
  startNode(program: string, part: string, args: readonly string[]): Program {
    const main = join(this.#build, program, 'main.js');
    const flags = [...this.#scene.world.nodeFlags(`${this.name}-${part}`), ...this.#nodeFlags];
    // Its own runtime folder: the status socket of a client that runs on this machine stays where it is.
    const env = { XDG_RUNTIME_DIR: this.folder };
    return this.#scene.programs.start(process.execPath, [...flags, main, ...args], env);
  }

  async #createToken(): Promise<void> {
    const main = join(this.#build, 'relay-server', 'main.js');
    const args = ['token', 'create', 'bench', '--host', `*.${RELAY_HOST}`, '--json', '--config', this.#configFile];
    const issued = await this.#scene.programs.run(process.execPath, [main, ...args], { timeoutMs: 10_000 });
    const { token } = JSON.parse(issued) as { token: string };
    writeFileSync(join(this.folder, 'token'), token, { mode: 0o600 });
  }
}
