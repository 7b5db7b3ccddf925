/**
 * LockHolder: what a lock file says of the process that made it, and when that counts no more. How a lock is taken, kept
 * and given back differs: certs/store-lock.ts for minutes of work, the relay's audit log for one write.
 *
 * Process ids are compared on the same machine only: containers that share a folder have the same ids. Owns nothing.
 */
import { hostname as machine } from 'node:os';
import { parseJsonObject } from '../json-object.js';
import { isCode } from './atomic-file.js';

export interface LockHolder {
  /** Of the one holding, not of its process. */
  readonly id: string;
  readonly pid: number;
  readonly machine: string;
  /** When the file was last written or touched, in milliseconds since 1970. */
  readonly touchedMs: number;
}

/** The text of a lock file that this process makes. */
export function lockText(id: string): string {
  return JSON.stringify({ id, pid: process.pid, machine: machine() });
}

/** Reads a lock file's text. Something else in it counts as a holder that only time can end. */
export function parseLockHolder(text: string, touchedMs: number): LockHolder {
  const fields = parseJsonObject(text);
  return { id: String(fields.id), pid: Number(fields.pid), machine: String(fields.machine), touchedMs };
}

/** Whether the lock is anybody's: it was not touched for `staleMs`, or its process is gone. */
export function isStaleLock(holder: LockHolder, staleMs: number): boolean {
  // A touch from the future is a clock that was set back; it would lock for ever.
  if (Math.abs(Date.now() - holder.touchedMs) > staleMs) return true;
  // In a container our own id may be that of an earlier life.
  return holder.machine === machine() && holder.pid !== process.pid && !isAlive(holder.pid);
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
