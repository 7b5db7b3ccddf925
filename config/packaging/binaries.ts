/**
 * Binaries: makes the single executables of both programs: bundle → program blob → Node with the blob inside.
 *
 * The blob is made by the very Node that will run it, but by the one for this machine: without V8's code cache it is the
 * same for every architecture, and one machine makes them all.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle, licencesOf, PROGRAMS, type Program, ROOT } from './bundle.js';
import { type Architecture, fetchNode, isArchitecture, type NodeRelease } from './node-release.js';
import { makeExecutable } from './single-executable.js';

/** Where everything that people install is put. */
export const PACKAGES = join(ROOT, 'dist-packages');
export const LICENCES = 'LICENCES.txt';
export const CHECKSUMS = 'SHA256SUMS';

export function binaryName(program: Program, architecture: Architecture): string {
  return `${program}-linux-${architecture}`;
}

/** Makes the executables in `folder`; returns the list of their SHA-256, as `sha256sum -c` reads it. */
export async function buildBinaries(folder: string, architectures: readonly Architecture[]): Promise<string> {
  const work = mkdtempSync(join(tmpdir(), 'sallyport-binary-'));
  try {
    const nodes = new Map(architectures.map((architecture) => [architecture, fetchNode(architecture, work)]));
    const builder = nodes.get(hostArchitecture()) ?? fetchNode(hostArchitecture(), work);
    mkdirSync(folder, { recursive: true });
    const packages = new Set<string>();
    const sums: string[] = [];
    for (const program of programs()) {
      const { code, packages: inside } = await bundle(program);
      for (const name of inside) packages.add(name);
      const blob = makeBlob(program, code, builder, work);
      for (const [architecture, { binary }] of nodes) {
        const executable = makeExecutable(readFileSync(binary), blob);
        writeFileSync(join(folder, binaryName(program, architecture)), executable, { mode: 0o755 });
        sums.push(`${createHash('sha256').update(executable).digest('hex')}  ${binaryName(program, architecture)}\n`);
      }
    }
    writeFileSync(join(folder, LICENCES), licences([...packages].sort(), builder));
    writeFileSync(join(folder, CHECKSUMS), sums.join(''));
    return sums.join('');
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

export function programs(): Program[] {
  return Object.keys(PROGRAMS).filter((name): name is Program => Object.hasOwn(PROGRAMS, name));
}

/** What Node embeds: the code and how to run it. */
function makeBlob(program: Program, code: string, { binary }: NodeRelease, work: string): Buffer {
  // Node keeps the path of the code as it stands here: a relative one is the same on every machine.
  const settings = { main: `${program}.cjs`, output: `${program}.blob`, disableExperimentalSEAWarning: true };
  writeFileSync(join(work, settings.main), code);
  writeFileSync(join(work, `${program}.json`), JSON.stringify(settings));
  execFileSync(binary, ['--experimental-sea-config', `${program}.json`], {
    cwd: work,
    stdio: 'pipe',
  });
  return readFileSync(join(work, settings.output));
}

function licences(packages: readonly string[], node: NodeRelease): string {
  const own = readFileSync(join(ROOT, 'LICENSE'), 'utf8');
  return `==== sallyport\n\n${own}\n${licencesOf(packages)}\n==== node\n\n${readFileSync(node.licence, 'utf8')}`;
}

function hostArchitecture(): Architecture {
  if (process.platform === 'linux' && isArchitecture(process.arch)) return process.arch;
  throw new Error(`Cannot build on ${process.platform} ${process.arch}. Use Linux on x64 or arm64.`);
}
