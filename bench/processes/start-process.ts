/**
 * StartProcess: how the bench starts its own programs of this folder.
 */
import { fileURLToPath } from 'node:url';
import type { Program, Programs } from '../programs.js';

/** Starts `processes/<name>` in a Node process of its own. */
export function startProcess(programs: Programs, name: string, args: readonly string[]): Program {
  return programs.start(process.execPath, [fileURLToPath(new URL(`${name}.js`, import.meta.url)), ...args]);
}
