/**
 * Atomic files: decides how both programs put state on disk so that a crash, a power cut or `kill -9` at any point
 * leaves the old file or the new one, never a part of either.
 *
 * The new text goes to a temporary file beside the target (mode set before the first byte), is flushed, takes the
 * target's place in one step (rename, or link for a file that must not exist yet), and then the folder is flushed.
 * A process that dies half-way leaves only a temporary file, whose name starts with a dot; `removeStaleTemporaries`
 * clears those. Every function throws TunnelError CONFIG_INVALID with the path when the disk refuses.
 *
 * Owns nothing. Used by: tokens, certificates, `relay init`, `tunnel join`.
 */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { TunnelError } from '../errors.js';

export interface AtomicFileOptions {
  /** Permission bits of the new file, whatever the umask says; 0600 when left out. */
  readonly mode?: number;
}

const PRIVATE_FILE = 0o600;
const PRIVATE_FOLDER = 0o700;
const OTHER_USERS = 0o077;
const TEMPORARY = /^\..+\.[0-9a-f]{16}\.tmp$/;
/** No write takes this long, so an older temporary file belongs to a process that died. */
const STALE_AFTER_MS = 10 * 60_000;

/** Puts `data` at `target`, replacing what is there; a symbolic link stays and its target is replaced. */
export function writeFileAtomic(target: string, data: string | Uint8Array, options: AtomicFileOptions = {}): void {
  onDisk('write', target, () => {
    const place = followLink(target);
    const temporary = writeTemporary(place, data, options.mode ?? PRIVATE_FILE);
    try {
      fs.renameSync(temporary, place);
    } catch (error) {
      fs.rmSync(temporary, { force: true });
      throw error;
    }
    syncFolder(path.dirname(place));
  });
}

/**
 * Puts `data` at `target` only if nothing is there; of several processes that try, exactly one wins.
 * @returns false when the name is already taken, and then nothing has changed.
 */
export function createFileExclusive(
  target: string,
  data: string | Uint8Array,
  options: AtomicFileOptions = {},
): boolean {
  return onDisk('write', target, () => {
    const temporary = writeTemporary(target, data, options.mode ?? PRIVATE_FILE);
    try {
      fs.linkSync(temporary, target);
    } catch (error) {
      if (isCode(error, 'EEXIST')) return false;
      throw error;
    } finally {
      fs.rmSync(temporary, { force: true });
    }
    syncFolder(path.dirname(target));
    return true;
  });
}

/** Removes a file for good. Returns false when there was none. */
export function removeFile(target: string): boolean {
  return onDisk('remove', target, () => {
    try {
      fs.unlinkSync(target);
    } catch (error) {
      if (isCode(error, 'ENOENT')) return false;
      throw error;
    }
    syncFolder(path.dirname(target));
    return true;
  });
}

/** Makes `folder` and its missing parents, each for its owner alone (0700). Folders that exist stay as they are. */
export function makePrivateFolder(folder: string): void {
  onDisk('make', folder, () => makeWithParents(path.resolve(folder)));
}

/** Removes the temporary files that processes left in `folder` when they died in the middle of a write. */
export function removeStaleTemporaries(folder: string, nowMs = Date.now()): void {
  onDisk('tidy', folder, () => {
    for (const name of fs.readdirSync(folder)) {
      if (!TEMPORARY.test(name)) continue;
      const temporary = path.join(folder, name);
      const state = fs.statSync(temporary, { throwIfNoEntry: false });
      if (state && nowMs - state.mtimeMs > STALE_AFTER_MS) fs.rmSync(temporary, { force: true });
    }
  });
}

/** Refuses a file or folder whose `mode` lets other users read or write it. */
export function checkPrivate(place: string, mode: number): void {
  if (process.platform === 'win32' || (mode & OTHER_USERS) === 0) return;
  const octal = `0${(mode & 0o777).toString(8)}`;
  const cure = `Do: chmod go= ${place}`;
  throw new TunnelError('CONFIG_INVALID', `Cannot use ${place}: its mode ${octal} lets other users in. ${cure}`);
}

/** Whether `error` is a system error with this code (`ENOENT`, `EEXIST`, …). */
export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function onDisk<Result>(verb: string, place: string, act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    const denied = isCode(error, 'EACCES') || isCode(error, 'EPERM');
    const reason = error instanceof Error ? error.message : String(error);
    const state = denied ? 'permission denied. Do it as the user who owns the folder' : reason;
    throw new TunnelError('CONFIG_INVALID', `Cannot ${verb} ${place}: ${state}.`, { cause: error });
  }
}

function writeTemporary(target: string, data: string | Uint8Array, mode: number): string {
  const folder = path.dirname(target);
  const temporary = path.join(folder, `.${path.basename(target)}.${randomBytes(8).toString('hex')}.tmp`);
  const file = fs.openSync(temporary, 'wx', PRIVATE_FILE);
  try {
    const owner = ownerToInherit(folder);
    if (owner) fs.fchownSync(file, owner.uid, owner.gid);
    fs.fchmodSync(file, mode);
    fs.writeFileSync(file, data);
    fs.fsyncSync(file);
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw error;
  } finally {
    fs.closeSync(file);
  }
  return temporary;
}

function makeWithParents(folder: string): void {
  if (fs.existsSync(folder)) return;
  const parent = path.dirname(folder);
  makeWithParents(parent);
  try {
    fs.mkdirSync(folder, { mode: PRIVATE_FOLDER });
  } catch (error) {
    if (isCode(error, 'EEXIST')) return;
    throw error;
  }
  const owner = ownerToInherit(parent);
  if (owner) fs.chownSync(folder, owner.uid, owner.gid);
  syncFolder(parent);
}

/** `sudo relay token create` must make a file that a relay running under its own user can read. */
function ownerToInherit(folder: string): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const { uid, gid } = fs.statSync(folder);
  return uid === 0 ? undefined : { uid, gid };
}

function followLink(target: string): string {
  try {
    return fs.realpathSync(target);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return target;
    throw error;
  }
}

function syncFolder(folder: string): void {
  // Windows cannot open a folder, and flushes names by itself.
  if (process.platform === 'win32') return;
  const handle = fs.openSync(folder, 'r');
  try {
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
}
