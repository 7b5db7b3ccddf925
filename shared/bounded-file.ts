/**
 * Bounded files: decides how a text file that an operator named is read: never more than a limit, and with the file's
 * permissions taken from the very file that was read. Owns nothing: the file is closed before it returns.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { TunnelError } from './errors.js';

export interface TextFile {
  readonly text: string;
  /** Permission bits, such as 0o600. */
  readonly mode: number;
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'no such file'],
  ['EACCES', 'permission denied'],
  ['EISDIR', 'it is a folder'],
  ['ENOTDIR', 'a part of its path is not a folder'],
  ['ERR_ENCODING_INVALID_ENCODED_DATA', 'it is not UTF-8 text'],
]);

/**
 * The text of a UTF-8 file of at most `maxBytes`.
 * @param name Which file it is, for the message: a config key, a flag or a noun.
 * @throws {TunnelError} CONFIG_INVALID with the path and the reason, never with content.
 */
export function readTextFile(path: string, maxBytes: number, name = 'file'): TextFile {
  try {
    const file = openSync(path, 'r');
    try {
      return { text: decoded(readAtMost(file, maxBytes)), mode: fstatSync(file).mode & 0o777 };
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    throw new TunnelError('CONFIG_INVALID', `Cannot read ${name} ${path}: ${reasonOf(cause)}`, { cause });
  }
}

function readAtMost(file: number, maxBytes: number): Buffer {
  const bytes = Buffer.alloc(maxBytes + 1);
  let length = 0;
  while (length < bytes.length) {
    const count = readSync(file, bytes, length, bytes.length - length, null);
    if (count === 0) return bytes.subarray(0, length);
    length += count;
  }
  throw new Error(`it is longer than ${maxBytes} bytes`);
}

function decoded(bytes: Buffer): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return REASONS.get(code ?? '') ?? message;
}
