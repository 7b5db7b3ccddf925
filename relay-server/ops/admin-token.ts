/**
 * AdminToken: the secret that the admin listener asks for when the operator has put one into the state folder, in the file
 * `admin-token`. Without the file it asks for none. It is read at every question, so that writing and removing it counts at
 * once. The verbs of `relay` send it only when told to (find-relay.ts).
 */
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { readSecretFile } from '../../shared/config-secret.js';
import type { Secret } from '../../shared/secret.js';

/**
 * The token; undefined when there is none.
 * @throws {TunnelError} CONFIG_INVALID when the file cannot be read, is empty, or can be read by others.
 */
export function readAdminToken(stateDir: string): Secret | undefined {
  return hasAdminToken(stateDir) ? readSecretFile(fileIn(stateDir), {}, 'admin token') : undefined;
}

/** Whether the operator asks for one, good or not: a link that leads nowhere and a folder that is closed to us count. */
export function hasAdminToken(stateDir: string): boolean {
  try {
    return lstatSync(fileIn(stateDir), { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true;
  }
}

function fileIn(stateDir: string): string {
  return join(stateDir, 'admin-token');
}

/** The field with which a request proves to know it; none where there is no token. Throws as `readAdminToken`. */
export function adminAuthorization(stateDir: string): Readonly<Record<string, string>> {
  const token = readAdminToken(stateDir);
  return token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` };
}
