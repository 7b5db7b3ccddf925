/**
 * DebianPackage: decides what a Debian package of one program holds, and lets dpkg-deb build it: the single executable,
 * the units of systemd/, the papers, and a file in /etc/default for the service's environment.
 *
 * The same tree makes the same package, byte for byte: every date is that of the version in CHANGELOG.md. It needs
 * dpkg-deb alone, no debhelper.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { VERSION } from '../../shared/version.js';
import { binaryName, LICENCES } from './binaries.js';
import { type Program, ROOT, UNITS } from './bundle.js';
import type { Architecture } from './node-release.js';

/** What Debian calls the architectures. */
export const DEBIAN_NAMES: Readonly<Record<Architecture, string>> = { x64: 'amd64', arm64: 'arm64' };

const TEMPLATES = join(ROOT, 'config/packaging/debian');
const SCRIPTS = ['postinst', 'prerm', 'postrm'];
const SUMMARIES: Readonly<Record<Program, string>> = {
  relay: 'public end of a self-hosted tunnel',
  tunnel: 'home end of a self-hosted tunnel',
};

/** What README.md and docs/ refer to, at the same paths below the package's papers, so that the links lead there. */
const PAPERS = [
  'README.md',
  'docs',
  'config/relay.example.yaml',
  'config/tunnel.example.yaml',
  'config/prometheus',
  'config/grafana',
  'config/openapi',
];
const TRY_RESTART = "systemctl try-restart 'sallyport-@PROGRAM@*.service' || true";
/** How what runs becomes the new program. A relay hands its sockets over (exit 78: it refused to, and goes on). */
const UPGRADES: Readonly<Record<Program, string>> = {
  relay: `if systemctl is-active --quiet sallyport-relay.service; then
      status=0
      relay restart --config /var/lib/sallyport/relay.yaml || status=$?
      if [ "$status" = 78 ]; then
        echo 'The old relay goes on. Correct what is wrong, then: relay restart' >&2
      elif [ "$status" != 0 ]; then
        ${TRY_RESTART}
      fi
    fi`,
  tunnel: TRY_RESTART,
};

export interface DebianOptions {
  readonly program: Program;
  readonly architecture: Architecture;
  /** Where the executables and their licences lie, and where the package is put. */
  readonly folder: string;
  /** Another version than that of the project, for tests of an upgrade. */
  readonly version?: string;
  /** How hard dpkg-deb compresses; xz by default, as Debian does. */
  readonly compression?: 'xz' | 'none';
}

/** Builds the package; returns its path. @throws when dpkg-deb is missing, or the executable. */
export function buildDebianPackage(options: DebianOptions): string {
  const { program, architecture, folder, version = VERSION, compression = 'xz' } = options;
  const tree = mkdtempSync(join(tmpdir(), 'sallyport-deb-'));
  // The rights of what is written here are those of the installed files.
  const umask = process.umask(0o022);
  try {
    chmodSync(tree, 0o755);
    writeFiles(tree, contents(options));
    writeFiles(join(tree, 'DEBIAN'), metadata(tree, options));
    const path = join(folder, `sallyport-${program}_${version}_${DEBIAN_NAMES[architecture]}.deb`);
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(releaseDate().getTime() / 1000) };
    execFileSync('dpkg-deb', ['--root-owner-group', `-Z${compression}`, '--build', tree, path], { env, stdio: 'pipe' });
    return path;
  } finally {
    process.umask(umask);
    rmSync(tree, { recursive: true, force: true });
  }
}

interface PackagedFile {
  readonly content: string | Buffer;
  readonly mode?: number;
}
type Files = Readonly<Record<string, PackagedFile>>;

/** What is installed, by path. */
function contents({ program, architecture, folder, version = VERSION }: DebianOptions): Files {
  const name = `sallyport-${program}`;
  const papers = `usr/share/doc/${name}`;
  const words = { PROGRAM: program };
  const licence = readFileSync(join(ROOT, 'LICENSE'), 'utf8').split('\n\n').slice(2).join('\n\n').trimEnd();
  const example = `${program}.example.yaml`;
  return {
    [`usr/bin/${program}`]: { content: readFileSync(join(folder, binaryName(program, architecture))), mode: 0o755 },
    ...unitsOf(program),
    [`etc/default/${name}`]: template(`${program}.default`, words),
    [`${papers}/copyright`]: template('copyright', { LICENCE: licence.replace(/^/gm, ' ').replace(/^ $/gm, ' .') }),
    [`${papers}/changelog.gz`]: zipped(changelog(version)),
    [`${papers}/NEWS.md.gz`]: zipped(readFileSync(join(ROOT, 'CHANGELOG.md'))),
    [`${papers}/LICENCES.txt.gz`]: zipped(readFileSync(join(folder, LICENCES))),
    [`${papers}/examples/${example}`]: { content: readFileSync(join(ROOT, 'config', example)) },
    ...papersIn(papers),
    [`usr/share/lintian/overrides/${name}`]: template('lintian-overrides', words),
  };
}

function papersIn(folder: string): Files {
  const paths = PAPERS.flatMap((path) =>
    statSync(join(ROOT, path)).isDirectory() ? readdirSync(join(ROOT, path)).map((name) => join(path, name)) : [path],
  );
  const wanted = paths.filter((path) => !path.endsWith('.test.yaml')).sort();
  return Object.fromEntries(wanted.map((path) => [`${folder}/${path}`, { content: readFileSync(join(ROOT, path)) }]));
}

/** The units of a program, each service with the environment that /etc/default has for it. */
function unitsOf(program: Program): Files {
  const files: Record<string, PackagedFile> = {};
  for (const name of unitNames(program)) {
    const place = `usr/lib/systemd/system/${name}`;
    files[place] = { content: readFileSync(join(ROOT, UNITS, name)) };
    if (!name.endsWith('.service')) continue;
    files[`${place}.d/environment.conf`] = template('environment.conf', { PROGRAM: program });
  }
  return files;
}

function unitNames(program: Program): string[] {
  const names = readdirSync(join(ROOT, UNITS)).filter((name) => /\.(?:service|socket)$/.test(name));
  return names.filter((name) => name.startsWith(`sallyport-${program}`)).sort();
}

/** The state folders of the units, as the shell knows them: `*` stands for the name of an instance. */
function stateFolders(program: Program): string[] {
  const texts = unitNames(program).map((name) => readFileSync(join(ROOT, UNITS, name), 'utf8'));
  const states = texts.flatMap((text) => /^StateDirectory=(\S+)$/m.exec(text)?.[1]?.replace('%i', '*') ?? []);
  return states.flatMap((state) => [`/var/lib/private/${state}`, `/var/lib/${state}`]);
}

/** What dpkg itself reads. */
function metadata(tree: string, { program, architecture, version = VERSION }: DebianOptions): Files {
  const files = filesIn(tree);
  const bytes = files.reduce((sum, path) => sum + statSync(join(tree, path)).size, 0);
  const words = {
    PROGRAM: program,
    VERSION: version,
    ARCHITECTURE: DEBIAN_NAMES[architecture],
    KIBIBYTES: String(Math.ceil(bytes / 1024)),
    SUMMARY: SUMMARIES[program],
    UPGRADE: UPGRADES[program].replaceAll('@PROGRAM@', program),
    STATE: stateFolders(program).join(' '),
  };
  const configuration = files.filter((path) => path.startsWith('etc/'));
  const scripts = SCRIPTS.map((name) => [name, { ...template(name, words), mode: 0o755 }]);
  const sums = files
    .filter((path) => !configuration.includes(path))
    .map((path) => `${md5(join(tree, path))}  ${path}\n`);
  return {
    control: template('control', words),
    conffiles: { content: configuration.map((path) => `/${path}\n`).join('') },
    md5sums: { content: sums.join('') },
    ...Object.fromEntries(scripts),
  };
}

/** The newest version of CHANGELOG.md in Debian's form, which must have one. */
function changelog(version: string): string {
  const date = releaseDate().toUTCString().replace('GMT', '+0000');
  const maintainer = /^Maintainer: (.*)$/m.exec(String(template('control', {}).content))?.[1];
  return `sallyport (${version}) stable; urgency=medium\n\n  * See NEWS.md.gz.\n\n -- ${maintainer}  ${date}\n`;
}

function releaseDate(): Date {
  const date = /^## \[\d.*\] - (\d{4}-\d\d-\d\d)$/m.exec(readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8'))?.[1];
  if (date === undefined) throw new Error('Cannot date the package: CHANGELOG.md has no version with a date.');
  return new Date(`${date}T00:00:00Z`);
}

function template(name: string, words: Readonly<Record<string, string>>): PackagedFile {
  const text = readFileSync(join(TEMPLATES, name), 'utf8');
  return { content: text.replace(/@([A-Z]+)@/g, (whole, word: string) => words[word] ?? whole) };
}

/** As `gzip -9n`: without name and time. */
function zipped(content: string | Buffer): PackagedFile {
  return { content: gzipSync(content, { level: 9 }) };
}

function writeFiles(folder: string, files: Files): void {
  for (const [path, { content, mode = 0o644 }] of Object.entries(files)) {
    const place = join(folder, path);
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(place, content, { mode });
  }
}

function filesIn(tree: string): string[] {
  const entries = readdirSync(tree, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return files.map((path) => path.slice(tree.length + 1)).sort();
}

function md5(path: string): string {
  return createHash('md5').update(readFileSync(path)).digest('hex');
}
