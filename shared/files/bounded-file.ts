/**
 * Bounded files: decides how a file is read: only a regular one (a pipe or a device would keep the program waiting for
 * ever), never more than a limit, and with the permissions of the very file that was read. Whatever the programs read goes
 * through here. Owns nothing: files are closed before a function returns, but for `openToRead`, whose caller closes it.
 */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { TunnelError } from '../errors.js';

export interface TextFile {
  readonly text: string;
  /** Permission bits, such as 0o600. */
  readonly mode: number;
}

/** Enough for certificates, keys and what we note ourselves. */
const MAX_BYTES = 1 << 20;

/** Should the file become a pipe between the look and the opening, then nobody waits for its writer. */
const TO_READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

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
export function readTextFile(path: string, maxBytes = MAX_BYTES, name = 'file'): TextFile {
  try {
    const { bytes, mode } = readBytes(path, maxBytes);
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), mode };
  } catch (cause) {
    throw new TunnelError('CONFIG_INVALID', `Cannot read ${name} ${path}: ${reasonOf(cause)}`, { cause });
  }
}

/** The bytes of a file of at most 1 MiB. Throws the system's own error, or one that says what the file is. */
export function readFileBytes(path: string): Buffer {
  return readBytes(path, MAX_BYTES).bytes;
}

/** Opens a file of any length, which the caller closes. Rejects as `readFileBytes` throws. */
export async function openToRead(path: string): Promise<FileHandle> {
  mustBeRegular(await stat(path));
  const handle = await open(path, TO_READ);
  try {
    mustBeRegular(await handle.stat());
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function readBytes(path: string, maxBytes: number): { readonly bytes: Buffer; readonly mode: number } {
  // Looked at before it is opened, because opening a device can do something.
  mustBeRegular(statSync(path));
  const file = openSync(path, TO_READ);
  try {
    const stats = fstatSync(file);
    mustBeRegular(stats);
    return { bytes: readAtMost(file, stats.size, maxBytes), mode: stats.mode & 0o777 };
  } finally {
    closeSync(file);
  }
}

function mustBeRegular(stats: Stats): void {
  if (stats.isFile()) return;
  const kinds = [
    ['a folder', stats.isDirectory()],
    ['a pipe', stats.isFIFO()],
    ['a socket', stats.isSocket()],
  ] as const;
  const kind = kinds.find(([, isIt]) => isIt)?.[0];
  throw new Error(kind === 'a folder' ? 'it is a folder' : `it is ${kind ?? 'a device'}, not a file`);
}

/** It may grow meanwhile, and those of the kernel have no size. */
function readAtMost(file: number, size: number, maxBytes: number): Buffer {
  let bytes = Buffer.alloc(Math.min(size, maxBytes) + 1);
  for (let length = 0; length <= maxBytes; ) {
    if (length === bytes.length) bytes = Buffer.concat([bytes], Math.min(2 * length, maxBytes + 1));
    const count = readSync(file, bytes, length, bytes.length - length, null);
    if (count === 0) return bytes.subarray(0, length);
    length += count;
  }
  throw new Error(`it is longer than ${maxBytes} bytes`);
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return REASONS.get(code ?? '') ?? message;
}
