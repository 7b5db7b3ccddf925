/**
 * AuditLock: decides which process appends to the audit log right now: the relay, its successor during a restart, or a
 * verb. A file that only one can make; it is held for the time of one write.
 *
 * Nothing here waits for the disk on the event loop's time (certs/store-lock.ts does, and beats for minutes of work).
 * A lock is stale when its process is gone, or after `STALE_MS`. Owns: its file. Owned by: one append.
 */
import { randomUUID } from 'node:crypto';
import { link, rm, stat, writeFile } from 'node:fs/promises';
import { hostname as machine } from 'node:os';
import * as path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { TunnelError } from '../../../shared/errors.js';
import { isCode } from '../../../shared/files/atomic-file.js';
import { readFileBytes } from '../../../shared/files/bounded-file.js';

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

interface Holder {
  readonly id: string;
  readonly pid: number;
  readonly machine: string;
  readonly ageMs: number;
}

async function take(file: string, id: string): Promise<void> {
  const untilMs = performance.now() + LOCK_WAIT_MS;
  const text = JSON.stringify({ id, pid: process.pid, machine: machine() });
  while (!(await create(file, id, text))) {
    const holder = await holderOf(file);
    if (holder !== undefined && isStale(holder)) await removeStale(file, holder.id);
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

async function holderOf(file: string): Promise<Holder | undefined> {
  try {
    const { mtimeMs } = await stat(file);
    const text = readFileBytes(file).toString();
    const { id, pid, machine: at } = parsed(text);
    return { id: String(id), pid: Number(pid), machine: String(at), ageMs: Date.now() - mtimeMs };
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Something else in the file counts as a holder that only time can end. */
function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** A lock from the future is a clock that was set back. In a container our own id may be that of an earlier life. */
function isStale({ pid, machine: at, ageMs }: Holder): boolean {
  if (Math.abs(ageMs) > STALE_MS) return true;
  return at === machine() && pid !== process.pid && !isAlive(pid);
}

function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !isCode(error, 'ESRCH');
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

function heldBy(file: string, holder: Holder | undefined): TunnelError {
  const state = holder === undefined ? 'it changes hands all the time' : `process ${holder.pid} holds ${file}`;
  return new TunnelError('CONFIG_INVALID', `Cannot write audit log: ${state}. Try again in half a minute.`);
}
