/**
 * NodeRelease: decides which Node the single executables contain, and brings its binary from the npm registry, where
 * Node's own releases lie as the packages `node-linux-…`.
 *
 * A release is pinned by the SHA-512 of its package: whatever the registry answers, nothing else gets into an executable.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Processors that have executables, in Node's words. */
export type Architecture = keyof typeof INTEGRITY;

/** The one version: a program made by it runs only in it. To change it, take both hashes from `npm view … dist`. */
const VERSION = '24.21.0';

const INTEGRITY = {
  x64: 'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
  arm64: 'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==',
} as const;

export const ARCHITECTURES: readonly Architecture[] = ['x64', 'arm64'];

export function isArchitecture(text: string): text is Architecture {
  return Object.hasOwn(INTEGRITY, text);
}

/** The architectures that a command line names; all of them when it names none. @throws {Error} for any other word. */
export function architecturesOf(words: readonly string[]): readonly Architecture[] {
  const strange = words.find((word) => !isArchitecture(word));
  if (strange !== undefined) throw new Error(`Cannot build for ${strange}. There are: ${ARCHITECTURES.join(', ')}.`);
  const named = words.filter(isArchitecture);
  return named.length > 0 ? named : ARCHITECTURES;
}

/** Where a release lies on this machine. */
export interface NodeRelease {
  /** Path of the `node` binary. */
  readonly binary: string;
  /** Path of the licences of Node and of what it contains. */
  readonly licence: string;
}

/**
 * Brings Node for one architecture into a folder below `folder`.
 * @throws {Error} when the registry cannot be reached, or has something else than what is pinned here.
 */
export function fetchNode(architecture: Architecture, folder: string): NodeRelease {
  const place = join(folder, `node-${architecture}`);
  mkdirSync(place);
  const spec = `node-linux-${architecture}@${VERSION}`;
  execFileSync('npm', ['pack', '--silent', '--pack-destination', place, spec], {
    stdio: 'pipe',
  });
  const tarball = join(place, `node-linux-${architecture}-${VERSION}.tgz`);
  const found = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`;
  if (found !== INTEGRITY[architecture]) {
    throw new Error(
      `Cannot use ${spec}: its hash is ${found}, which is not the pinned one. Find out why before you pin it.`,
    );
  }
  const release = { binary: 'package/bin/node', licence: 'package/LICENSE' };
  execFileSync('tar', ['-xzf', tarball, '-C', place, release.binary, release.licence]);
  return { binary: join(place, release.binary), licence: join(place, release.licence) };
}
