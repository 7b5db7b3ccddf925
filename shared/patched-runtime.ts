/**
 * PatchedRuntime: whether the Node.js that runs us has the security fixes of June and July 2026: in HTTP/2 a use after free
 * and memory without a limit, in TLS names matched by case. Pure.
 */

/** The first release of each line that has them. Lines before 22 never got them. */
const PATCHED: ReadonlyMap<number, readonly [minor: number, patch: number]> = new Map([
  [22, [23, 2]],
  [24, [18, 1]],
  [26, [5, 1]],
]);
/** Lines from here on began with them. */
const FIRST_LINE_BORN_PATCHED = 27;

/** The same as words: `22.23.2, 24.18.1, 26.5.1`. */
export const PATCHED_RELEASES = [...PATCHED].map(([line, [minor, patch]]) => `${line}.${minor}.${patch}`).join(', ');

/** @param version as `process.versions.node` has it; one that cannot be read has no fixes */
export function isPatchedRuntime(version: string): boolean {
  const [line = 0, minor = 0, patch = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  if (line >= FIRST_LINE_BORN_PATCHED) return true;
  const first = PATCHED.get(line);
  return first !== undefined && (minor > first[0] || (minor === first[0] && patch >= first[1]));
}
