/**
 * Scene: one set of subjects at work: its folder, its programs, the origin that they forward to, and the way between
 * their two sides. Everything in it ends with it.
 *
 * Owns: its folder and, through `programs`, its processes. Owned by: BenchWorld.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Programs } from './programs.js';
import type { BenchWorld } from './world.js';

export class Scene {
  readonly world: BenchWorld;
  readonly folder: string;
  readonly programs = new Programs();
  /** Where the home side of a subject finds the origin. */
  originPort: number;
  /** The port at which the home side finds a port of the public side: that port, unless a long line lies between. */
  reach: (port: number) => Promise<number> = async (port) => port;
  readonly #onClose: () => void;

  /** Opened by `BenchWorld.scene`. */
  constructor(world: BenchWorld, folder: string, onClose: () => void) {
    this.world = world;
    this.folder = folder;
    this.originPort = world.originPort;
    this.#onClose = onClose;
    mkdirSync(folder, { recursive: true });
  }

  /** Writes a generated configuration, and keeps it for the report. Returns its path. */
  writeConfig(name: string, text: string): string {
    const file = join(this.folder, name);
    writeFileSync(file, text, { mode: 0o600 });
    this.world.configs.set(name, text);
    return file;
  }

  /** Ends all programs of the scene. Safe any number of times. */
  async close(): Promise<void> {
    await this.programs.close();
    rmSync(this.folder, { recursive: true, force: true });
    this.#onClose();
  }
}
