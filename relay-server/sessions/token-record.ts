/**
 * Token records: decides what the relay keeps of a token, and what a token file may hold.
 *
 * One JSON file per token, mode 0600: version, name, id, public key, grants, times. Nothing in it could log in. Reading
 * is strict, also about keys that nobody knows: a limit written by a newer relay must not be dropped silently.
 * Pure but for the file that it is told to read. Owned by: TokenStore.
 */

import { TunnelError } from '../../shared/errors.js';
import { checkPrivate } from '../../shared/files/atomic-file.js';
import { readTextFile } from '../../shared/files/bounded-file.js';
import { isPublicKey, isTokenId } from '../../shared/token.js';
import { type Grants, readGrants } from './grants.js';

const VERSION = 1;
const KEYS = ['version', 'name', 'id', 'publicKey', 'grants', 'createdAt', 'expiresAt'];
const NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/;
const MAX_FILE_BYTES = 256 * 1024;

export interface TokenRecord {
  /** What the operator calls it; also the file's name. */
  readonly name: string;
  /** What the client names in its proof. */
  readonly id: string;
  /** Ed25519 public key, base64url. */
  readonly publicKey: string;
  readonly grants: Grants;
  /** Milliseconds since 1970. */
  readonly createdAtMs: number;
  /** Milliseconds since 1970; undefined for a token without an end. */
  readonly expiresAtMs: number | undefined;
}

/** Whether the token's time is over. */
export function isExpired(record: TokenRecord, nowMs = Date.now()): boolean {
  return record.expiresAtMs !== undefined && nowMs >= record.expiresAtMs;
}

/**
 * The name itself when a token may be called so: it becomes a file name on every kind of disk.
 * @throws {TunnelError} USAGE_INVALID.
 */
export function checkTokenName(name: string): string {
  if (NAME.test(name)) return name;
  const grammar = 'Use up to 63 of a-z, 0-9, "-" and "_", beginning with a letter or digit.';
  throw new TunnelError('USAGE_INVALID', `Cannot use token name ${JSON.stringify(name)}. ${grammar}`);
}

/** The text of the record's file. */
export function formatTokenRecord(record: TokenRecord): string {
  const file = {
    version: VERSION,
    name: record.name,
    id: record.id,
    publicKey: record.publicKey,
    grants: record.grants,
    createdAt: new Date(record.createdAtMs).toISOString(),
    ...(record.expiresAtMs === undefined ? {} : { expiresAt: new Date(record.expiresAtMs).toISOString() }),
  };
  return `${JSON.stringify(file, undefined, 2)}\n`;
}

/**
 * Reads one token file.
 * @throws {TunnelError} CONFIG_INVALID naming the file and the cure when it is unreadable, open to others, or damaged.
 */
export function readTokenFile(file: string, name: string): TokenRecord {
  const { text, mode } = readTextFile(file, MAX_FILE_BYTES);
  checkPrivate(file, mode);
  try {
    return parseTokenRecord(text, name);
  } catch (error) {
    const state = error instanceof Error ? error.message : String(error);
    const cure = 'Restore it from a backup, or remove it to revoke its token.';
    throw new TunnelError('CONFIG_INVALID', `Cannot use token file ${file}: ${state}. ${cure}`, { cause: error });
  }
}

/** The record in the text of a token file. @throws {Error} saying what is wrong, without the file's name. */
export function parseTokenRecord(text: string, name: string): TokenRecord {
  const file = asObject(JSON.parse(text), 'the file');
  const unknown = Object.keys(file).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw new Error(`key ${JSON.stringify(unknown)} is unknown to this version`);
  if (file.version !== VERSION) throw new Error(`version must be ${VERSION}`);
  if (file.name !== name) throw new Error(`name must be ${JSON.stringify(name)}, as the file is called`);
  if (typeof file.id !== 'string' || !isTokenId(file.id)) throw new Error('id is not a token id');
  if (typeof file.publicKey !== 'string' || !isPublicKey(file.publicKey))
    throw new Error('publicKey is no Ed25519 key');
  return {
    name,
    id: file.id,
    publicKey: file.publicKey,
    grants: readGrants(asObject(file.grants, 'grants')),
    createdAtMs: readTime(file.createdAt, 'createdAt'),
    expiresAtMs: file.expiresAt === undefined ? undefined : readTime(file.expiresAt, 'expiresAt'),
  };
}

function asObject(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Error(`${what} is not an object`);
}

function readTime(value: unknown, what: string): number {
  const ms = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms)) throw new Error(`${what} is not a time`);
  return ms;
}
