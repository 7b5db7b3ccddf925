/**
 * Visitors: a process of our own full of visitors who do nothing (processes/visitors.ts). Nothing about them is timed.
 */
import { startProcess } from '../processes/start-process.js';
import type { Program } from '../programs.js';
import type { Scene } from '../scene.js';

/** How long a crowd may take to arrive. */
const ARRIVE_MS = 180_000;

export interface VisitorsOptions {
  readonly port: number;
  readonly count: number;
  /** Idle ones have their answer, stalled ones stopped reading it. */
  readonly manner: 'idle' | 'stalled';
  readonly path: string;
  /** Whom they visit, in turn. */
  readonly hosts: readonly string[];
}

/** Resolves when all are there. They stay until the program is ended. */
export async function bringVisitors(scene: Scene, options: VisitorsOptions): Promise<Program> {
  const { port, count, manner, path, hosts } = options;
  const args = [String(port), scene.world.certificate.cert, String(count), manner, path, ...hosts];
  const program = startProcess(scene.programs, 'visitors', args);
  await program.line(`present ${count}`, ARRIVE_MS);
  return program;
}
