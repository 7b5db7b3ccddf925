/**
 * StoreLock: decides which process works on a name of the certificate store. One file per name, made only if it is not
 * there (O_EXCL), touched every `beatMs`. A lock is stale when its process is gone or when it was not touched for
 * `staleMs`, as after `kill -9`, and whoever waits takes it.
 *
 * Owns: its file and one timer. Owned by: whoever asked for it, who calls `release`.
 */
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import { TunnelError } from '../errors.js';
import { createFileExclusive, isCode } from '../files/atomic-file.js';
import { readFileBytes } from '../files/bounded-file.js';
import { isStaleLock, type LockHolder, lockText, parseLockHolder } from '../files/lock-holder.js';
import { pause } from './time-limit.js';

const BEAT_MS = 2_000;
const STALE_MS = 20_000;
const LOOK_MS = 250;

export interface LockOptions {
  /** How often the holder touches its file; 2 s when left out. */
  readonly beatMs?: number;
  /** After how long without a touch a lock is anybody's; 20 s when left out. */
  readonly staleMs?: number;
  /** How often one who waits looks; 250 ms when left out. */
  readonly lookMs?: number;
}

export class StoreLock {
  readonly #file: string;
  readonly #id: string;
  readonly #timer: NodeJS.Timeout;

  private constructor(file: string, id: string, beatMs: number) {
    this.#file = file;
    this.#id = id;
    this.#timer = setInterval(() => this.#touch(), beatMs);
    this.#timer.unref();
  }

  /** Waits for the lock until the signal fires. @throws {TunnelError} CONFIG_INVALID when the disk refuses. */
  static async take(file: string, signal: AbortSignal, options: LockOptions = {}): Promise<StoreLock> {
    const { beatMs = BEAT_MS, staleMs = STALE_MS, lookMs = LOOK_MS } = options;
    const id = randomUUID();
    const text = `${lockText(id)}\n`;
    for (;;) {
      signal.throwIfAborted();
      if (createFileExclusive(file, text)) return new StoreLock(file, id, beatMs);
      const holder = readHolder(file);
      if (holder && isStaleLock(holder, staleMs)) removeStale(file, staleMs);
      else await pause(lookMs, signal);
    }
  }

  /**
   * Whether the lock is still ours: a machine that slept for long may have lost it.
   * @throws {TunnelError} CONFIG_INVALID when the disk does not tell.
   */
  isHeld(): boolean {
    return readHolder(this.#file)?.id === this.#id;
  }

  /** @throws {TunnelError} INTERNAL when somebody else has the lock now. */
  refuseLost(): void {
    if (this.isHeld()) return;
    throw new TunnelError(
      'INTERNAL',
      `Cannot go on: lock ${this.#file} was taken by another process. It is tried again.`,
    );
  }

  /** Safe any number of times. */
  release(): void {
    clearInterval(this.#timer);
    try {
      if (this.isHeld()) fs.rmSync(this.#file, { force: true });
    } catch {
      // What was done under the lock is done; untouched, the file goes stale.
    }
  }

  #touch(): void {
    try {
      if (this.isHeld()) {
        const now = new Date();
        fs.utimesSync(this.#file, now, now);
      } else clearInterval(this.#timer);
    } catch {
      // No descriptor left, a disk that refuses: nobody could catch it here, and whoever depends on it asks `isHeld`.
    }
  }
}

function readHolder(file: string): LockHolder | undefined {
  try {
    const touchedMs = fs.statSync(file).mtimeMs;
    return parseLockHolder(readFileBytes(file).toString(), touchedMs);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined;
    const state = error instanceof Error ? error.message : String(error);
    throw new TunnelError('CONFIG_INVALID', `Cannot use lock ${file}: ${state}. Remove it if it stays so.`, {
      cause: error,
    });
  }
}

/**
 * Removes a stale lock. Two that see it both come here, and the slower one would remove the lock that the faster one has
 * taken since: so only one may remove at a time, and looks again before it does.
 */
function removeStale(file: string, staleMs: number): void {
  const guard = `${file}.takeover`;
  if (!createFileExclusive(guard, '')) {
    // It is held for the blink of an eye, so an old one belongs to a process that died in it.
    const touchedMs = fs.statSync(guard, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
    if (Date.now() - touchedMs > staleMs) fs.rmSync(guard, { force: true });
    return;
  }
  try {
    const holder = readHolder(file);
    if (holder && isStaleLock(holder, staleMs)) fs.rmSync(file, { force: true });
  } finally {
    fs.rmSync(guard, { force: true });
  }
}
