/**
 * StatusFolder: decides where the running clients of one user keep their status sockets, and that nobody else can.
 *
 * The folder belongs to the user and is closed to everybody else (0700): whoever could write there could pretend to be
 * a client, and whoever could read there would learn the origins of this machine.
 */
import { lstat, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TunnelError } from '../../shared/errors.js';

const SOCKET_NAME = /^tunnel-([1-9]\d{0,9})\.sock$/;

/** The folder of this user: `$XDG_RUNTIME_DIR/sallyport`, else one named after the user id in the system's temp folder. */
export function statusFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const runtime = environment.XDG_RUNTIME_DIR;
  return runtime ? join(runtime, 'sallyport') : join(tmpdir(), `sallyport-${userId()}`);
}

/** The socket of one process. */
export function socketPath(folder: string, pid: number): string {
  return join(folder, `tunnel-${pid}.sock`);
}

/** The process that a file of the folder belongs to; undefined for files that are not ours. */
export function pidOfSocket(fileName: string): number | undefined {
  const pid = SOCKET_NAME.exec(fileName)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

/**
 * Makes the folder when it is missing.
 * @throws {TunnelError} CONFIG_INVALID when it cannot be made or is not private to this user.
 */
export async function ensureStatusFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new TunnelError(
      'CONFIG_INVALID',
      `Cannot make status folder ${folder}: ${String(cause)}. Set XDG_RUNTIME_DIR.`,
      {
        cause,
      },
    );
  }
  if (await isPrivateFolder(folder)) return;
  throw new TunnelError(
    'CONFIG_INVALID',
    `Cannot use status folder ${folder}: it is not a folder that only this user can open. Remove it or set XDG_RUNTIME_DIR.`,
  );
}

/** True for a real folder (no link) of this user that nobody else can open; false for anything else, or nothing. */
export async function isPrivateFolder(folder: string): Promise<boolean> {
  const entry = await lstat(folder).catch(() => undefined);
  if (entry === undefined || !entry.isDirectory()) return false;
  return entry.uid === userId() && (entry.mode & 0o077) === 0;
}

/** Not `os.userInfo`, which fails for a user without a name, as in a container that runs under a bare number. */
function userId(): number {
  return process.getuid?.() ?? -1;
}
