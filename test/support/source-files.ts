/** The project's own TypeScript files and what they import, for tests of the architecture. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export interface Import {
  /** A path from ROOT for a file of ours, else the name as written: `ws`, `node:net`. */
  readonly from: string;
  /** Whether TypeScript removes it: then it decides nothing at run time. */
  readonly isTypeOnly: boolean;
  /** The imported names that exist at run time; empty for a namespace or a side effect. */
  readonly names: readonly string[];
}

export interface SourceFile {
  /** From ROOT: `shared/mux/frame.ts`. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly Import[];
}

const STATIC =
  /^(?:import|export)\s+(type\s+)?(\{[^}]*\}|\*(?:\s+as\s+\w+)?|\w+(?:,\s*\{[^}]*\})?)\s+from\s+'([^']+)';/gm;
const BARE = /^import\s+'([^']+)';/gm;
const DYNAMIC = /\bimport\('([^']+)'\)/g;

/** Every TypeScript file below a folder of the project. */
export function sourcesIn(folder: string): SourceFile[] {
  const absolute = join(ROOT, folder);
  if (!existsSync(absolute)) return [];
  const names = readdirSync(absolute, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => name.endsWith('.ts')).map((name) => readSource(join(folder, name)));
}

/** The lines that are code; a comment of ours begins its line. */
export function codeOf(text: string): string {
  const lines = text.split('\n');
  return lines.filter((line) => !/^\s*(?:\/\*|\*|\/\/)/.test(line)).join('\n');
}

function readSource(path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), 'utf8');
  return { path, text, imports: importsOf(path, text) };
}

function importsOf(path: string, text: string): Import[] {
  const found: Import[] = [];
  for (const [, type, clause = '', from = ''] of text.matchAll(STATIC)) {
    const names = namesIn(clause);
    const isTypeOnly = type !== undefined || (clause.startsWith('{') && names.length === 0);
    found.push({ from: place(path, from), isTypeOnly, names });
  }
  for (const pattern of [BARE, DYNAMIC]) {
    for (const [, from = ''] of text.matchAll(pattern)) {
      found.push({ from: place(path, from), isTypeOnly: false, names: [] });
    }
  }
  return found;
}

/** The names in braces that are not types. */
function namesIn(clause: string): string[] {
  const inBraces = /\{([^}]*)\}/.exec(clause)?.[1] ?? '';
  const entries = inBraces.split(',').map((entry) => entry.trim());
  return entries.filter((entry) => entry !== '' && !entry.startsWith('type '));
}

function place(importer: string, from: string): string {
  if (!from.startsWith('.')) return from;
  const file = relative(ROOT, resolve(ROOT, dirname(importer), from));
  return file.replace(/\.js$/, '.ts');
}
