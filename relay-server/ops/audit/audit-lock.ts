/**
 * AuditLock: decides which process appends to the audit log right now: the relay, its successor during a restart, or a
 * verb. A file that only one can make; it is held for the time of one write.
 *
 * Nothing here waits for the disk on the event loop's time (certs/store-lock.ts does, and beats for minutes of work).
 * A lock is stale when its process is gone, or after `STALE_MS`. Owns: its file. Owned by: one append.
 */
import { randomUUID } from 'node:crypto';
import { link, rm, stat, writeFile } from 'node:fs/promises';
import * as path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { TunnelError } from '../../../shared/errors.js';
import { isCode } from '../../../shared/files/atomic-file.js';
import { readFileBytes } from '../../../shared/files/bounded-file.js';
import { isStaleLock, type LockHolder, lockText, parseLockHolder } from '../../../shared/files/lock-holder.js';

const NAME = '.lock';
const LOOK_MS = 20;
const STALE_MS = 30_000;
const LOCK_WAIT_MS = 10_000;

/**
 * Does `act` while nobody else does.
 * @throws {TunnelError} CONFIG_INVALID when another process holds the lock for 10 s.
 */
export async function withAuditLock<Result>(folder: string, act: () => Promise<Result>): Promise<Result> {
  const file = path.join(folder, NAME);
  const id = randomUUID();
  await take(file, id);
  try {
    return await act();
  } finally {
    // Taken by another meanwhile: it is no longer ours to remove.
    if ((await holderOf(file))?.id === id) await rm(file, { force: true });
  }
}

async function take(file: string, id: string): Promise<void> {
  const untilMs = performance.now() + LOCK_WAIT_MS;
  const text = lockText(id);
  while (!(await create(file, id, text))) {
    const holder = await holderOf(file);
    if (holder !== undefined && isStaleLock(holder, STALE_MS)) await removeStale(file, holder.id);
    else if (performance.now() > untilMs) throw heldBy(file, holder);
    else await pause(LOOK_MS);
  }
}

/** The text is there before the name is: a lock without a holder would be nobody's. */
async function create(file: string, id: string, text: string): Promise<boolean> {
  const temporary = `${file}.${id}`;
  await writeFile(temporary, text, { flag: 'wx' });
  try {
    await link(temporary, file);
    return true;
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function holderOf(file: string): Promise<LockHolder | undefined> {
  try {
    const { mtimeMs } = await stat(file);
    return parseLockHolder(readFileBytes(file).toString(), mtimeMs);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Of several that see the same stale lock, the one that makes the guard removes it, after another look. */
async function removeStale(file: string, staleId: string): Promise<void> {
  const guard = `${file}.takeover`;
  try {
    await writeFile(guard, '', { flag: 'wx' });
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error;
    const state = await stat(guard).catch(() => undefined);
    if (state !== undefined && Math.abs(Date.now() - state.mtimeMs) > STALE_MS) await rm(guard, { force: true });
    else await pause(LOOK_MS);
    return;
  }
  try {
    if ((await holderOf(file))?.id === staleId) await rm(file, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
}

function heldBy(file: string, holder: LockHolder | undefined): TunnelError {
  const state = holder === undefined ? 'it changes hands all the time' : `process ${holder.pid} holds ${file}`;
  return new TunnelError('CONFIG_INVALID', `Cannot write audit log: ${state}. Try again in half a minute.`);
}
