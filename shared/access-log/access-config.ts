/**
 * AccessConfig: decides the options of section `access_log`, which both programs have.
 */
import * as path from 'node:path';
import type { Fields } from '../config/config-fields.js';
import { text } from '../config/config-kinds.js';

export interface AccessConfig {
  /** `stdout` at the relay only, `stderr` at the client only, whose stdout is its answer. */
  readonly to: 'off' | 'stdout' | 'stderr' | 'file';
  /** Absolute path, for `file`. */
  readonly file: string;
  readonly format: 'json' | 'combined';
  /** A file that has grown to this is renamed to `FILE.1`, and that one to `FILE.2`. */
  readonly maxFileBytes: number;
  /** Files kept, the one that is written to among them. */
  readonly maxFiles: number;
  /** What is shown of query strings: all, the names without the values, or nothing. */
  readonly query: 'full' | 'names' | 'none';
  /** Paths that are not logged; `*` at the end stands for anything. */
  readonly skipPaths: readonly string[];
}

const KIB = 1 << 10;
const MIB = 1 << 20;
const PATH_PATTERN = /^\/[^\s*?#]*\*?$/;

/**
 * Asks for every option. The file is `access.log` in `folder` when none is named; `stream` is where the program's own log
 * goes to, and the access log may.
 */
export function readAccessLog(fields: Fields, folder: string, stream: 'stdout' | 'stderr'): AccessConfig {
  return {
    to: fields.choice('to', ['off', stream, 'file'], { default: 'off' }),
    file: fields.path('file', { default: undefined }) ?? path.join(folder, 'access.log'),
    format: fields.choice('format', ['json', 'combined'], { default: 'json' }),
    maxFileBytes: fields.bytes('max_size', { min: 64 * KIB, max: 10_240 * MIB, default: 50 * MIB }),
    maxFiles: fields.integer('max_files', { min: 1, max: 100, default: 5 }),
    query: fields.choice('query', ['full', 'names', 'none'], { default: 'names' }),
    skipPaths: fields.values('skip_paths', text('a path such as /healthz or /assets/*', PATH_PATTERN)),
  };
}
