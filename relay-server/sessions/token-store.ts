/**
 * TokenStore: decides where tokens live and how they change: one file per token in `<stateDir>/tokens/<name>.json`.
 *
 * Every change is one file that appears, is replaced or goes in one step (shared/files/atomic-file.ts), so the verbs of
 * `relay token` need no lock and work beside a running relay, which sees them through `watch`. Two processes that create
 * the same name: exactly one wins. A rotate that races a revoke may win over it; both are acts of the same operator.
 *
 * Owns: the folder while a verb runs; nothing afterwards. Used by: the `relay` verbs, and by the relay through TokenWatch.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { TunnelError } from '../../shared/errors.js';
import {
  checkPrivate,
  createFileExclusive,
  isCode,
  makePrivateFolder,
  removeFile,
  removeStaleTemporaries,
  writeFileAtomic,
} from '../../shared/files/atomic-file.js';
import type { Secret } from '../../shared/secret.js';
import { generateToken } from '../../shared/token.js';
import type { Grants } from './grants.js';
import { checkTokenName, formatTokenRecord, isExpired, readTokenFile, type TokenRecord } from './token-record.js';
import { TokenWatch, type TokenWatchOptions } from './token-watch.js';

/** A token just made: its record, and the text that only the client may keep. */
export interface IssuedToken {
  readonly record: TokenRecord;
  readonly text: Secret;
}

export class TokenStore {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * The store of this state folder; makes the folder on first use.
   * @throws {TunnelError} CONFIG_INVALID when the folder cannot be used or lets other users in.
   */
  static open(stateDir: string): TokenStore {
    const folder = path.join(stateDir, 'tokens');
    makePrivateFolder(folder);
    removeStaleTemporaries(folder);
    checkPrivate(folder, fs.statSync(folder).mode);
    return new TokenStore(folder);
  }

  /**
   * Every token of this state folder by name, without writing anything; none where there is no folder yet.
   * @throws {TunnelError} CONFIG_INVALID for the first thing that cannot be used.
   */
  static read(stateDir: string): readonly TokenRecord[] {
    const folder = path.join(stateDir, 'tokens');
    const mode = modeOf(folder);
    if (mode === undefined) return [];
    checkPrivate(folder, mode);
    return new TokenStore(folder).list();
  }

  /**
   * Makes a token.
   * @param expiresAtMs milliseconds since 1970.
   * @throws {TunnelError} USAGE_INVALID when the name is malformed or taken.
   */
  create(name: string, grants: Grants, expiresAtMs?: number): IssuedToken {
    const file = this.#fileOf(name);
    const { record, text } = issue(name, grants, expiresAtMs);
    if (createFileExclusive(file, formatTokenRecord(record))) return { record, text };
    const cure = `Choose another name, or make it a new secret: relay token rotate ${name}`;
    throw new TunnelError('USAGE_INVALID', `Cannot create token ${name}: it exists already. ${cure}`);
  }

  /** Every token by name. @throws {TunnelError} CONFIG_INVALID for the first file that cannot be used. */
  list(): readonly TokenRecord[] {
    const watch = TokenWatch.load(this.#folder);
    return watch.all();
  }

  /** Ends a token; the running relay ends its sessions. @throws {TunnelError} USAGE_INVALID when there is none. */
  revoke(name: string): void {
    const file = this.#fileOf(name);
    if (!removeFile(file)) throw this.#missing('revoke', name);
  }

  /**
   * Gives a token a new id and key and keeps its grants; the old text stops working at once.
   * @param expiresAtMs a new end; left out, the old one stays.
   * @throws {TunnelError} USAGE_INVALID when there is none, or when its old end has passed.
   */
  rotate(name: string, expiresAtMs?: number): IssuedToken {
    const file = this.#fileOf(name);
    if (!fs.existsSync(file)) throw this.#missing('rotate', name);
    const old = readTokenFile(file, name);
    const issued = issue(name, old.grants, expiresAtMs ?? old.expiresAtMs);
    if (isExpired(issued.record)) {
      throw new TunnelError(
        'USAGE_INVALID',
        `Cannot rotate token ${name}: it has expired. Add a new end: --expires 90d`,
      );
    }
    writeFileAtomic(file, formatTokenRecord(issued.record));
    return issued;
  }

  /**
   * The running relay's view, kept up to date until it is closed.
   * @throws {TunnelError} CONFIG_INVALID when any file cannot be used: a relay never starts on half its tokens.
   */
  watch(options: TokenWatchOptions = {}): TokenWatch {
    return TokenWatch.start(this.#folder, options);
  }

  #fileOf(name: string): string {
    return path.join(this.#folder, `${checkTokenName(name)}.json`);
  }

  #missing(act: string, name: string): TunnelError {
    return new TunnelError('USAGE_INVALID', `Cannot ${act} token ${name}: there is none. See: relay token list`);
  }
}

/** Undefined when there is none. */
function modeOf(folder: string): number | undefined {
  try {
    return fs.statSync(folder, { throwIfNoEntry: false })?.mode;
  } catch (cause) {
    const state = isCode(cause, 'EACCES') ? "permission denied. Be the relay's user, or root" : String(cause);
    throw new TunnelError('CONFIG_INVALID', `Cannot read token folder ${folder}: ${state}.`, { cause });
  }
}

function issue(name: string, grants: Grants, expiresAtMs: number | undefined): IssuedToken {
  const { id, publicKey, text } = generateToken();
  return { record: { name, id, publicKey, grants, createdAtMs: Date.now(), expiresAtMs }, text };
}
