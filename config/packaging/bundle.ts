/**
 * Bundle: decides how a program of many modules becomes the one CommonJS file that a single executable holds. The only
 * door of `esbuild`.
 *
 * It is made of what `npm run build` left in dist/, and not minified: that saves no time at the start, and a stack trace
 * stays readable. Paths inside are relative to the project, so two checkouts make the same bytes.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

/** The project's folder. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** The programs, by the folder that each is built into. */
export const PROGRAMS = { relay: 'relay-server', tunnel: 'tunnel-client' } as const;
export type Program = keyof typeof PROGRAMS;

/** Where the units and whatever else makes a service lie, for every module that installs it. */
export const UNITS = 'systemd';

export interface Bundle {
  /** One CommonJS file that needs nothing but Node. */
  readonly code: string;
  /** Names of the npm packages inside. */
  readonly packages: readonly string[];
}

/** @throws when `npm run build` has not been done. */
export async function bundle(program: Program): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: [`dist/${PROGRAMS[program]}/main.js`],
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    // As typed it may be any name; so a program that starts itself again sees that it is its own interpreter.
    banner: { js: 'process.argv[1] = process.execPath;' },
    // What ws, and debug below acme-client, would use if it were installed.
    external: ['bufferutil', 'supports-color', 'utf-8-validate'],
    plugins: [embeddable],
    metafile: true,
    write: false,
    logLevel: 'warning',
    // It would be undefined. A module that needs a file of the package asks shared/files/package-file.ts.
    logOverride: { 'empty-import-meta': 'error' },
  });
  const paths = Object.keys(metafile.inputs);
  const packages = paths.flatMap((path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []);
  return { code: outputFiles.map(({ text }) => text).join(''), packages: [...new Set(packages)].sort() };
}

/** The licences of npm packages, one after the other. @throws when one has none. */
export function licencesOf(packages: readonly string[]): string {
  return packages.map((name) => `==== ${name}\n\n${licenceOf(name)}`).join('\n');
}

/** What our own modules may do in a folder full of modules, but not inside a single file. */
const embeddable: Plugin = {
  name: 'embeddable',
  setup({ onLoad }) {
    onLoad({ filter: /\/dist\/shared\/files\/package-file\.js$/ }, () => ({ contents: packageFileModule() }));
    // CommonJS knows no await at the top; in both programs one is the last thing that happens.
    const main = /\/dist\/(?:relay-server|tunnel-client)\/main\.js$/;
    onLoad({ filter: main }, ({ path }) => ({ contents: readFileSync(path, 'utf8').replace(/^await /m, 'void ') }));
  },
};

/** What shared/files/package-file.ts is asked for, beside package.json. */
const EMBEDDED = [UNITS, 'config/openapi'];

/** Stands for shared/files/package-file.ts: the texts are in it. */
function packageFileModule(): string {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const texts: Record<string, string> = { 'package.json': JSON.stringify({ version }) };
  const entries = EMBEDDED.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true }),
  );
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const file of files.sort()) texts[relative(ROOT, file)] = readFileSync(file, 'utf8');
  return `
    const texts = new Map(Object.entries(${JSON.stringify(texts)}));
    export function readPackageFile(path) {
      const text = texts.get(path);
      if (text === undefined) throw new Error(\`Cannot read \${path}: this executable does not contain it.\`);
      return text;
    }`;
}

function licenceOf(name: string): string {
  const folder = join(ROOT, 'node_modules', name);
  const file = readdirSync(folder).find((entry) => /^licen[cs]e(?:\.(?:md|txt))?$/i.test(entry));
  if (file !== undefined) return readFileSync(join(folder, file), 'utf8');
  const { license, author } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  if (license === undefined) throw new Error(`Cannot put ${name} into an executable: it has no licence.`);
  return `${license}, ${author?.name ?? author}\n`;
}
