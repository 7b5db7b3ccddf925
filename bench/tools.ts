/**
 * Tools: programs that npm does not bring. Decides where they are looked for, and which Debian package brings them.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { TunnelError } from '../shared/errors.js';

const PACKAGES = {
  nginx: 'nginx-light',
  wrk: 'wrk',
  h2load: 'nghttp2-client',
  curl: 'curl',
  openssl: 'openssl',
} as const;

/** Where servers live that an ordinary user's PATH leaves out. */
const ADMIN_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

export type Tool = keyof typeof PACKAGES;

/** The path of each tool. */
export type Tools = Readonly<Record<Tool, string>>;

/** Finds all tools. Throws CONFIG_INVALID with one line that names every missing one and its package. */
export function findTools(): Tools {
  const names = Object.keys(PACKAGES) as Tool[];
  const missing = names.filter((name) => pathOf(name) === undefined);
  if (missing.length > 0) {
    const packages = missing.map((name) => PACKAGES[name]).join(' ');
    throw new TunnelError('CONFIG_INVALID', `Cannot find ${missing.join(', ')}. Do: apt-get install ${packages}`);
  }
  return Object.fromEntries(names.map((name) => [name, pathOf(name) ?? name])) as Record<Tool, string>;
}

/** The path of a program on PATH or where servers live; undefined when there is none. */
export function pathOf(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...ADMIN_FOLDERS];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** Whether this file can be run. */
export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
