/**
 * AdminToken: the secret that the admin listener asks for when the operator has put one into the state folder, in the file
 * `admin-token`. Without the file it asks for none. It is read at every question, so that writing and removing it counts at
 * once. The verbs of `relay` send it only when told to (find-relay.ts).
 */
import { randomBytes } from 'node:crypto';
import { existsSync, lstatSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Address, networkMatcher } from '../../shared/address.js';
import { readSecretFile } from '../../shared/config/config-secret.js';
import { asTunnelError, TunnelError } from '../../shared/errors.js';
import { createFileExclusive, writeFileAtomic } from '../../shared/files/atomic-file.js';
import type { Log } from '../../shared/log.js';
import type { Secret } from '../../shared/secret.js';

const isLoopback = networkMatcher(['127.0.0.0/8', '::1/128']);
const NAME = 'admin-token';
const TOKEN_BYTES = 32;
const RENEW = 'Do: relay admin-token create --force';

/**
 * The token; undefined when there is none.
 * @throws {TunnelError} CONFIG_INVALID when the file cannot be read, is empty, or can be read by others.
 */
export function readAdminToken(stateDir: string): Secret | undefined {
  return hasAdminToken(stateDir) ? readSecretFile(adminTokenFile(stateDir), {}, 'admin token') : undefined;
}

/** The same for a relay that runs: its log says why nobody gets in, once for each reason. */
export function adminTokenReader(stateDir: string, log: Log): () => Secret | undefined {
  let told: string | undefined;
  return () => {
    try {
      const token = readAdminToken(stateDir);
      told = undefined;
      return token;
    } catch (error) {
      const { code, message } = asTunnelError(error);
      if (message !== told)
        log.error({ code, reason: message }, 'admin listener answers nobody: its token cannot be read');
      told = message;
      throw error;
    }
  };
}

/** Whether the operator asks for one, good or not: a link that leads nowhere and a folder that is closed to us count. */
export function hasAdminToken(stateDir: string): boolean {
  try {
    return lstatSync(adminTokenFile(stateDir), { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true;
  }
}

/**
 * Puts a new token into the state folder, for the owner of that folder alone, and returns the path of its file.
 * @param replace whether one that is there ends.
 * @throws {TunnelError} USAGE_INVALID when there is one already, CONFIG_INVALID when the disk refuses.
 */
export function createAdminToken(stateDir: string, replace: boolean): string {
  const file = adminTokenFile(stateDir);
  const text = `${randomBytes(TOKEN_BYTES).toString('hex')}\n`;
  if (replace) writeFileAtomic(file, text);
  else if (!createFileExclusive(file, text)) {
    throw new TunnelError('USAGE_INVALID', `Cannot create ${file}: it exists already. End the old one: --force`);
  }
  return file;
}

/**
 * What keeps a relay, whose user owns the state folder, from reading its token, and the cure; undefined when nothing does.
 * Whoever asks may be root, who can read everything.
 */
export function adminTokenProblem(stateDir: string): { readonly found: string; readonly cure: string } | undefined {
  if (!hasAdminToken(stateDir)) return undefined;
  const file = adminTokenFile(stateDir);
  try {
    const { uid: owner } = statSync(file);
    const { uid: relayUser } = statSync(stateDir);
    if (owner !== relayUser && relayUser !== 0) {
      const found = `${file} belongs to user ${owner}, and the relay runs as user ${relayUser}, who cannot read it`;
      return { found, cure: RENEW };
    }
    readAdminToken(stateDir);
    return undefined;
  } catch (error) {
    return { found: asTunnelError(error).message, cure: RENEW };
  }
}

/** A file of that name beside relay.yaml, where nobody looks for it; undefined when there is none. */
export function strayAdminToken(configFile: string, stateDir: string): string | undefined {
  const stray = join(dirname(configFile), NAME);
  return stray !== adminTokenFile(stateDir) && existsSync(stray) ? stray : undefined;
}

/** Whether everybody who reaches the admin listener there may ask it, and others than this machine can. */
export function isOpenAdmin(address: Address, stateDir: string): boolean {
  return !isLoopback(address.host) && !hasAdminToken(stateDir);
}

/** Where the relay with this state folder looks for its token. */
export function adminTokenFile(stateDir: string): string {
  return join(stateDir, NAME);
}

/** The field with which a request proves to know it; none where there is no token. Throws as `readAdminToken`. */
export function adminAuthorization(stateDir: string): Readonly<Record<string, string>> {
  const token = readAdminToken(stateDir);
  return token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` };
}
