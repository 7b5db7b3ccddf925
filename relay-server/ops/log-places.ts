/**
 * LogPlaces: decides whether the relay can write its access log and its audit log where relay.yaml wants them. A relay
 * whose logs go nowhere must not start, nor take such a place over; what another user sees beforehand is only a warning.
 *
 * A disk that is full is no reason: it costs lines, which are counted, and never the relay. Owns nothing.
 */
import { statSync } from 'node:fs';
import { access, constants, mkdir, open, stat } from 'node:fs/promises';
import { dirname, relative } from 'node:path';
import { TunnelError } from '../../shared/errors.js';
import { isCode, makePrivateFolder } from '../../shared/files/atomic-file.js';
import type { RelayConfig } from '../relay-config.js';
import { auditFiles } from './audit/audit-files.js';
import { ownUser } from './own-user.js';

type LogConfig = Pick<RelayConfig, 'stateDir' | 'accessLog' | 'auditLog'>;

const PASSING = ['ENOSPC', 'EDQUOT'];

/**
 * Makes the folders that are missing, and tries.
 * @throws {TunnelError} CONFIG_INVALID for the first place that this process cannot write to.
 */
export async function refuseUnwritableLogs({ stateDir, accessLog, auditLog }: LogConfig): Promise<void> {
  if (accessLog.to === 'file') {
    await attempt('access_log.file', accessLog.file, stateDir, () => tryFile(accessLog.file));
  }
  if (auditLog.enabled) {
    await attempt('audit_log.folder', auditLog.folder, stateDir, () => tryFolder(auditLog.folder));
  }
}

/** What speaks against a place, as far as somebody can tell who is not the relay: its user owns the state folder. */
export function logPlaceNotes({ stateDir, accessLog, auditLog }: LogConfig): string[] {
  const places = [
    ...(accessLog.to === 'file' ? [['access_log.file', dirname(accessLog.file)] as const] : []),
    ...(auditLog.enabled ? [['audit_log.folder', auditLog.folder] as const] : []),
  ];
  const relayUser = ownerOf(stateDir);
  return places.flatMap(([option, folder]) => {
    if (isInside(folder, stateDir)) return [];
    const note = noteOn(folder, relayUser);
    return note === undefined
      ? []
      : [`${option} is in ${folder}, which ${note}. The relay must be able to write there`];
  });
}

function noteOn(folder: string, relayUser: number | undefined): string | undefined {
  const uid = ownerOf(folder);
  if (uid === undefined) return 'does not exist, or is hidden from you';
  if (relayUser === undefined || relayUser === 0 || uid === relayUser) return undefined;
  return `belongs to user ${uid}, not to user ${relayUser} as the state folder does`;
}

/** Undefined when it does not exist, or is hidden from us. */
function ownerOf(place: string): number | undefined {
  try {
    return statSync(place).uid;
  } catch {
    return undefined;
  }
}

function isInside(place: string, folder: string): boolean {
  const way = relative(folder, place);
  return !way.startsWith('..') && !way.startsWith('/');
}

/** What is no file, such as a pipe, is not touched: opening it can do something. */
async function tryFile(file: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o750 });
  const state = await stat(file).catch((error: unknown) => {
    if (!isCode(error, 'ENOENT')) throw error;
  });
  if (state?.isFile() === false) return;
  await (await open(file, 'a', 0o640)).close();
}

async function tryFolder(folder: string): Promise<void> {
  makePrivateFolder(folder);
  await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  const newest = (await auditFiles(folder)).at(-1);
  if (newest !== undefined) await access(newest, constants.R_OK | constants.W_OK);
}

async function attempt(option: string, place: string, stateDir: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    const cause = error instanceof TunnelError ? error.cause : error;
    if (PASSING.some((code) => isCode(cause, code))) return;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const cure = `Give it to the relay's user, ${ownUser()}, or choose a place in ${stateDir}.`;
    throw new TunnelError('CONFIG_INVALID', `Cannot write ${option} ${place}: ${reason}. ${cure}`, { cause });
  }
}
