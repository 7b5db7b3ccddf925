/**
 * Binaries: makes the single executables of both programs: bundle → program blob → Node with the blob inside.
 *
 * The blob is made by the very Node that will run it, but by the one for this machine: without V8's code cache it is the
 * same for every architecture, and one machine makes them all.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

/** Makes the executables, with the licences of what is inside and the list of sums, in `folder`, which is emptied before. */
export async function buildBinaries(folder: string, architectures: readonly Architecture[]): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'sallyport-binary-'));
  try {
    const nodes = new Map(architectures.map((architecture) => [architecture, fetchNode(architecture, work)]));
    const builder = nodes.get(hostArchitecture()) ?? fetchNode(hostArchitecture(), work);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const packages = new Set<string>();
    for (const program of programs()) {
      const { code, packages: inside } = await bundle(program);
      for (const name of inside) packages.add(name);
      const blob = makeBlob(program, code, builder, work);
      for (const [architecture, { binary }] of nodes) {
        const executable = makeExecutable(readFileSync(binary), blob);
        writeFileSync(join(folder, binaryName(program, architecture)), executable, { mode: 0o755 });
      }
    }
    writeFileSync(join(folder, LICENCES), licences([...packages].sort(), builder));
    writeChecksums(folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Writes the SHA-256 of all other files of the folder, as `sha256sum --check` reads them. */
export function writeChecksums(folder: string): void {
  const names = readdirSync(folder).filter((name) => name !== CHECKSUMS);
  const sum = (name: string) =>
    createHash('sha256')
      .update(readFileSync(join(folder, name)))
      .digest('hex');
  writeFileSync(
    join(folder, CHECKSUMS),
    names
      .sort()
      .map((name) => `${sum(name)}  ${name}\n`)
      .join(''),
  );
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
