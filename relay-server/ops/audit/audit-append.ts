/**
 * AuditAppend: decides how records come into the audit log: under its lock, behind the newest record of whoever wrote last,
 * in one write, flushed. When this returns, the records are on disk.
 *
 * A writer that died in the middle (kill -9, power) leaves a torn line: it is ended, and the next record vouches for what it
 * was. Nothing that is on disk is ever changed, so `chattr +a` on the newest file is allowed.
 * Owns: the file while it writes. Used by: AuditLog, and by verbs.
 */
import { open } from 'node:fs/promises';
import { TunnelError } from '../../../shared/errors.js';
import { makePrivateFolder } from '../../../shared/files/atomic-file.js';
import { type AuditEntry, type ChainEnd, readRecord, seal, tornEntry } from './audit-chain.js';
import type { AuditConfig } from './audit-config.js';
import { auditFiles, chainEndOf, makeNextFile, readFileEnd, removeOldFiles } from './audit-files.js';
import { withAuditLock } from './audit-lock.js';

export type AuditPlace = Pick<AuditConfig, 'folder' | 'maxFileBytes' | 'maxFiles'>;

/**
 * Appends `entries`, in this order, and returns the new end of the chain.
 * @throws {TunnelError} CONFIG_INVALID when the disk refuses or another process does not give way.
 */
export async function appendAudit(place: AuditPlace, entries: readonly AuditEntry[]): Promise<ChainEnd> {
  const { folder } = place;
  try {
    makePrivateFolder(folder);
    return await withAuditLock(folder, () => append(place, entries));
  } catch (error) {
    if (error instanceof TunnelError) throw error;
    const state = error instanceof Error ? error.message : String(error);
    throw new TunnelError('CONFIG_INVALID', `Cannot write audit log in ${folder}: ${state}.`, { cause: error });
  }
}

async function append(place: AuditPlace, entries: readonly AuditEntry[]): Promise<ChainEnd> {
  const files = await auditFiles(place.folder);
  const newest = files.at(-1) ?? makeNextFile(place.folder, undefined);
  const { torn, size } = await readFileEnd(newest);
  // What vouches for a torn line stands right behind it, so such a file gets no successor yet.
  const isFull = size >= place.maxFileBytes && torn.length === 0;
  const target = isFull ? makeNextFile(place.folder, newest) : newest;
  const { start, mending } = mend(torn, await chainEndOf(files));
  let end = start;
  let text = torn.length === 0 ? '' : '\n';
  for (const entry of [...mending, ...entries]) {
    const sealed = seal(entry, end);
    text += `${sealed.line}\n`;
    end = sealed.end;
  }
  await writeFlushed(target, text);
  if (isFull) await removeOldFiles(place.folder, place.maxFiles);
  return end;
}

/** Where the chain goes on behind the remains of a line, and what is to be said of them: nothing if only their end is missing. */
function mend(torn: Buffer, end: ChainEnd): { readonly start: ChainEnd; readonly mending: readonly AuditEntry[] } {
  if (torn.length === 0) return { start: end, mending: [] };
  const record = readRecord(torn);
  if (record?.prev === end.hash) return { start: { seq: record.seq, hash: record.hash }, mending: [] };
  return { start: end, mending: [tornEntry(torn, Date.now())] };
}

async function writeFlushed(file: string, text: string): Promise<void> {
  const handle = await open(file, 'a');
  try {
    await handle.appendFile(text);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}
