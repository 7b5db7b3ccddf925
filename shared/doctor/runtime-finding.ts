/**
 * RuntimeFinding: whether the Node.js that runs us still gets security fixes. It never fails: the programs work, and what
 * a distribution patches by itself cannot be seen from its number. Pure.
 */
import { type Finding, pass, skip } from './check.js';

/** The first release of each line with the fixes of July 2026 (HTTP/2 and TLS). */
const PATCHED: ReadonlyMap<number, readonly [minor: number, patch: number]> = new Map([
  [22, [23, 2]],
  [24, [18, 1]],
  [26, [5, 1]],
]);
const NEWEST = 26;

/** @param version as `process.versions.node` has it. */
export function runtimeFinding(version: string): Finding {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
  const since = PATCHED.get(major);
  const isPatched =
    since === undefined ? major > NEWEST : minor > since[0] || (minor === since[0] && patch >= since[1]);
  if (isPatched) return pass(`Node.js ${version}`);
  // Whether a distribution patches this one cannot be seen from here: neither PASS nor FAIL would be true.
  return skip(
    `Node.js ${version}, which lacks security fixes of July 2026`,
    'Install Node.js 24.18.1 or newer, unless your distribution patches this one.',
  );
}
