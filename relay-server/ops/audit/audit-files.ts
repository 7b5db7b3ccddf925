/**
 * AuditFiles: decides which files hold the audit log: `audit-00000001.jsonl` and so on, in one private folder. Only the
 * newest is written to; none is ever renamed, so whoever follows or copies one sees it grow and then stand still.
 * Owns nothing. Used by: audit-append.ts, audit-verify.ts.
 */
import { type FileHandle, readdir, rm } from 'node:fs/promises';
import * as path from 'node:path';
import { createFileExclusive, isCode } from '../../../shared/files/atomic-file.js';
import { openToRead } from '../../../shared/files/bounded-file.js';
import { CHAIN_START, type ChainEnd, MAX_LINE_BYTES, readRecord } from './audit-chain.js';

const NAME = /^audit-(\d{8})\.jsonl$/;
const LINE_END = 0x0a;
/** Room for the longest whole line behind the longest torn one. */
const TAIL_BYTES = 4 * MAX_LINE_BYTES;

/** How a file ends. */
export interface FileEnd {
  /** The newest whole record; undefined when the file has none. */
  readonly end: ChainEnd | undefined;
  /** What a writer that died left behind the last line end. */
  readonly torn: Buffer;
  /** Bytes in all. */
  readonly size: number;
}

/** Absolute paths, oldest first; none when there is no folder. */
export async function auditFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (isCode(error, 'ENOENT')) return [];
    throw error;
  });
  const ours = names.filter((name) => NAME.test(name)).sort();
  return ours.map((name) => path.join(folder, name));
}

/** Makes the file after `newest`, or the first one, and returns its path. Only whoever holds the lock may. */
export function makeNextFile(folder: string, newest: string | undefined): string {
  const number = newest === undefined ? 0 : Number(NAME.exec(path.basename(newest))?.[1] ?? 0);
  const next = path.join(folder, `audit-${String(number + 1).padStart(8, '0')}.jsonl`);
  createFileExclusive(next, '');
  return next;
}

/** Removes the oldest files until `keep` are left. */
export async function removeOldFiles(folder: string, keep: number): Promise<void> {
  const files = await auditFiles(folder);
  for (const file of files.slice(0, Math.max(0, files.length - keep))) await rm(file, { force: true });
}

/** Where the chain ends in `files`: in the newest one that has a record. */
export async function chainEndOf(files: readonly string[]): Promise<ChainEnd> {
  for (const file of [...files].reverse()) {
    const { end } = await readFileEnd(file);
    if (end !== undefined) return end;
  }
  return CHAIN_START;
}

/** How one file ends. A power cut may leave a tail of any length, so then the whole file is read. */
export async function readFileEnd(file: string): Promise<FileEnd> {
  const handle = await openToRead(file);
  try {
    const { size } = await handle.stat();
    const tail = await readTail(handle, size, Math.min(size, TAIL_BYTES));
    const found = endIn(tail, size);
    return found.end !== undefined || tail.length === size ? found : endIn(await readTail(handle, size, size), size);
  } finally {
    await handle.close();
  }
}

async function readTail(handle: FileHandle, size: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, size - length);
  return buffer.subarray(0, bytesRead);
}

function endIn(tail: Buffer, size: number): FileEnd {
  const torn = tail.subarray(tail.lastIndexOf(LINE_END) + 1);
  let lineEnd = tail.lastIndexOf(LINE_END);
  while (lineEnd >= 0) {
    const before = lineEnd === 0 ? -1 : tail.lastIndexOf(LINE_END, lineEnd - 1);
    const record = readRecord(tail.subarray(before + 1, lineEnd));
    if (record !== undefined) return { end: { seq: record.seq, hash: record.hash }, torn, size };
    lineEnd = before;
  }
  return { end: undefined, torn, size };
}
