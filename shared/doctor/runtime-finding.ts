/**
 * RuntimeFinding: whether the Node.js that runs us still gets security fixes. It never fails: the programs work, and what
 * a distribution patches by itself cannot be seen from its number. Pure.
 */
import { isPatchedRuntime } from '../patched-runtime.js';
import { type Finding, pass, skip } from './check.js';

/** @param version as `process.versions.node` has it. */
export function runtimeFinding(version: string): Finding {
  if (isPatchedRuntime(version)) return pass(`Node.js ${version}`);
  // Whether a distribution patches this one cannot be seen from here: neither PASS nor FAIL would be true.
  return skip(
    `Node.js ${version}, which lacks security fixes`,
    'Install Node.js 24.18.1 or newer, unless your distribution patches this one.',
  );
}
