/**
 * PatchedRuntime: whether HTTP/2 is offered to visitors. Its wire format is read by the runtime (nghttp2 inside of
 * node:http2), so the runtime's own holes are ours: a use after free and memory without a limit, mended in June and July
 * 2026. HTTP/1.1 is read by code of our own and depends on no such thing.
 */

/** `auto`: where the runtime has the fixes. */
export type Http2Mode = 'auto' | 'on' | 'off';

/** The first release of each line that has the fixes. Lines before 22 never got them. */
const PATCHED: ReadonlyMap<number, readonly [minor: number, patch: number]> = new Map([
  [22, [23, 2]],
  [24, [18, 1]],
  [26, [5, 1]],
]);
/** Lines from here on began with the fixes. */
const FIRST_LINE_BORN_PATCHED = 27;

/** Whether a Node of this version (`24.18.1`) has the fixes. A version that cannot be read has not. */
export function isPatchedRuntime(version: string): boolean {
  const [line = 0, minor = 0, patch = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  if (line >= FIRST_LINE_BORN_PATCHED) return true;
  const first = PATCHED.get(line);
  return first !== undefined && (minor > first[0] || (minor === first[0] && patch >= first[1]));
}

/** Whether HTTP/2 is offered. */
export function offersHttp2(mode: Http2Mode, nodeVersion = process.versions.node): boolean {
  return mode === 'on' || (mode === 'auto' && isPatchedRuntime(nodeVersion));
}

/** What the operator should know about it at start; undefined where all is well. */
export function http2Warning(mode: Http2Mode, nodeVersion = process.versions.node): string | undefined {
  if (mode === 'off' || isPatchedRuntime(nodeVersion)) return undefined;
  const cure = `Install ${[...PATCHED].map(([line, [minor, patch]]) => `${line}.${minor}.${patch}`).join(', ')} or newer`;
  const state = `Node ${nodeVersion} lacks security fixes`;
  if (mode === 'on') return `HTTP/2 is offered, as http2: on says, although ${state}. ${cure}`;
  return `HTTP/2 is not offered: ${state}. ${cure}`;
}
