/**
 * Place: what surrounds the subjects of a figure: which origin they forward to, and what lies between their two sides.
 */
import { startProcess } from './processes/start-process.js';
import type { Scene } from './scene.js';

/** `distance` puts a long line between the public side and home; the others name the origin. */
export type Place = 'files' | 'upload' | 'echo' | 'distance';

/** The line of `distance`: a good home line to a relay on another continent. Its bandwidth-delay product is 5 MB. */
export const LINE = { roundTripMs: 80, megabytesPerSecond: 62.5 } as const;

/** Starts what the place needs in a scene that has no subjects yet. */
export async function prepare(scene: Scene, place: Place): Promise<void> {
  if (place === 'upload') scene.originPort = await startListening(scene, 'upload-sink', []);
  if (place === 'echo') scene.originPort = await startListening(scene, 'web-socket-echo', []);
  if (place === 'distance') scene.reach = (port) => startLine(scene, port);
}

function startLine(scene: Scene, port: number): Promise<number> {
  const args = [port, LINE.roundTripMs / 2, LINE.megabytesPerSecond].map(String);
  return startListening(scene, 'delay-line', args);
}

/** Starts one of our own programs that says `listening PORT`. */
async function startListening(scene: Scene, name: string, args: readonly string[]): Promise<number> {
  const program = startProcess(scene.programs, name, args);
  return Number((await program.line('listening ')).split(' ').at(-1));
}
