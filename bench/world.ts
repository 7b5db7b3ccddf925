/**
 * BenchWorld: what all figures of one run share: tools, certificate, the origin's files, and the scenes that are open.
 *
 * Owns: the folder, the origin and every scene. Owned by: main.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TunnelError } from '../shared/errors.js';
import { type CertificatePaths, makeCertificate } from './certificate.js';
import { startOrigin } from './origin.js';
import { Scene } from './scene.js';
import { findTools } from './tools.js';

export interface WorldOptions {
  /** Size of the large file. */
  readonly bulkBytes: number;
  /** Folder for CPU profiles of the Node programs; undefined: none are taken. */
  readonly profiles: string | undefined;
}

export class BenchWorld {
  readonly tools = findTools();
  readonly folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
  /** Generated configs by name, for people who want to check them. */
  readonly configs = new Map<string, string>();
  /** Aborted when the run shall end early. */
  readonly stop = new AbortController();
  readonly #options: WorldOptions;
  readonly #scenes = new Set<Scene>();
  #opened = 0;
  #certificate: CertificatePaths | undefined;
  #originPort = 0;

  /** Throws CONFIG_INVALID when a tool is missing. */
  constructor(options: WorldOptions) {
    this.#options = options;
  }

  /** Makes the certificate and starts the origin. Call `close` even when it rejects. */
  async open(): Promise<void> {
    const scene = this.scene('origin');
    this.#certificate = await makeCertificate(scene.programs, this.tools, this.folder);
    this.#originPort = await startOrigin(scene, this.#options.bulkBytes);
  }

  get certificate(): CertificatePaths {
    if (this.#certificate === undefined) throw new TunnelError('INTERNAL', 'Cannot use the world: it is not open');
    return this.#certificate;
  }

  /** Where the origin serves its files. */
  get originPort(): number {
    return this.#originPort;
  }

  /** A new scene; whoever opens it closes it, or the end of the world does. Throws INTERNAL once the run is stopped. */
  scene(name: string): Scene {
    if (this.stop.signal.aborted) throw new TunnelError('INTERNAL', 'Cannot open a scene: the bench is over');
    this.#opened += 1;
    const folder = join(this.folder, `${this.#opened}-${name}`);
    const scene: Scene = new Scene(this, folder, () => this.#scenes.delete(scene));
    this.#scenes.add(scene);
    return scene;
  }

  /** Node's flags for a program of a subject: none, or those that make it write a CPU profile when it ends. */
  nodeFlags(name: string): string[] {
    const { profiles } = this.#options;
    if (profiles === undefined) return [];
    return ['--cpu-prof', '--cpu-prof-dir', profiles, '--cpu-prof-name', `${this.#opened}-${name}.cpuprofile`];
  }

  /** Ends all programs and removes the folder. Safe any number of times. */
  async close(): Promise<void> {
    this.stop.abort();
    await Promise.all([...this.#scenes].map((scene) => scene.close()));
    rmSync(this.folder, { recursive: true, force: true });
  }
}
