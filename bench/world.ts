/**
 * BenchWorld: what all subjects of one run share: folder, tools, certificate, origin.
 *
 * Owns: the folder and, through `programs`, every process. Owned by: main.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CertificatePaths, makeCertificate } from './certificate.js';
import { startOrigin } from './origin.js';
import { Programs } from './programs.js';
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
  readonly programs = new Programs();
  /** Generated configs by name, for people who want to check them. */
  readonly configs = new Map<string, string>();
  readonly #options: WorldOptions;
  #certificate: CertificatePaths | undefined;
  #originPort = 0;

  /** Throws CONFIG_INVALID when a tool is missing. */
  constructor(options: WorldOptions) {
    this.#options = options;
  }

  /** Makes the certificate and starts the origin. Call `close` even when it rejects. */
  async open(): Promise<void> {
    this.#certificate = await makeCertificate(this.programs, this.tools, this.folder);
    this.#originPort = await startOrigin(this, this.#options.bulkBytes);
  }

  get certificate(): CertificatePaths {
    if (this.#certificate === undefined) throw new Error('Cannot use the world: it is not open');
    return this.#certificate;
  }

  get originPort(): number {
    return this.#originPort;
  }

  /** Node's flags for a program of a subject: none, or those that make it write a CPU profile when it ends. */
  nodeFlags(name: string): string[] {
    const { profiles } = this.#options;
    return profiles === undefined
      ? []
      : ['--cpu-prof', '--cpu-prof-dir', profiles, '--cpu-prof-name', `${name}.cpuprofile`];
  }

  /** Ends all programs and removes the folder. Safe any number of times. */
  async close(): Promise<void> {
    await this.programs.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
