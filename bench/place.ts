/**
 * Place: what surrounds the subjects of a figure: which origin they forward to, and what lies between their two sides.
 */
import { startProcess } from './processes/start-process.js';
import type { Program } from './programs.js';
import type { Scene } from './scene.js';

/** A long line between the public side and home. */
export interface Line {
  readonly roundTripMs: number;
  readonly megabytesPerSecond: number;
}

/** Which origin they forward to; behind a line, that of `files`. */
export type Place = 'files' | 'upload' | 'echo' | Line;

/** Of a place, for folders and keys. */
export function placeName(place: Place): string {
  return typeof place === 'string' ? place : `line-${place.roundTripMs}-${place.megabytesPerSecond}`;
}

/** Starts what the place needs in a scene that has no subjects yet. */
export async function prepare(scene: Scene, place: Place): Promise<void> {
  if (place === 'upload') scene.originPort = (await startListening(scene, 'upload-sink', [])).port;
  if (place === 'echo') scene.originPort = (await startListening(scene, 'web-socket-echo', [])).port;
  if (typeof place !== 'string') scene.reach = async (port) => (await startLine(scene, place, port)).port;
}

/** One of our own programs, and where it listens. */
export interface Listening {
  readonly port: number;
  readonly program: Program;
}

/** Starts a line to this port. */
export function startLine(scene: Scene, line: Line, port: number): Promise<Listening> {
  return startListening(scene, 'delay-line', [port, line.roundTripMs / 2, line.megabytesPerSecond].map(String));
}

/** Starts one of our own programs that says `listening PORT`. */
async function startListening(scene: Scene, name: string, args: readonly string[]): Promise<Listening> {
  const program = startProcess(scene.programs, name, args);
  return { program, port: Number((await program.line('listening ')).split(' ').at(-1)) };
}
