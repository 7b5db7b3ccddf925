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

/** A thousand tunnels are told by the first of them. */
const REPORTED_LINES = 80;

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

  /**
   * Writes a generated configuration, and keeps its beginning for the report. Returns its path.
   * @param kind under which it is reported, when many files differ in little; its own name when left out.
   */
  writeConfig(name: string, text: string, kind = name): string {
    const file = join(this.folder, name);
    writeFileSync(file, text, { mode: 0o600 });
    this.world.configs.set(kind, firstLines(text));
    return file;
  }

  /** Ends all programs of the scene. Safe any number of times. */
  async close(): Promise<void> {
    await this.programs.close();
    rmSync(this.folder, { recursive: true, force: true });
    this.#onClose();
  }
}

function firstLines(text: string): string {
  const lines = text.split('\n');
  if (lines.length <= REPORTED_LINES) return text;
  return [...lines.slice(0, REPORTED_LINES), `… and ${lines.length - REPORTED_LINES} lines more`, ''].join('\n');
}
