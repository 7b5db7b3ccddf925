/**
 * ProtectedHosts: which hostnames were claimed with TLS that does not end at the relay. For those the relay never ends it
 * again, whoever asks, until its operator says `relay host forget NAME`.
 *
 * One file per name in `<stateDir>/protected-hosts`, so that the verbs work beside a running relay, as for tokens. It
 * fails closed: a relay does not start on files that it cannot read, and a name whose file cannot be looked at counts as
 * protected. Nothing here expires or makes room, which is why the number of names per token is limited.
 *
 * Owns: the folder. Owned by: Relay; the verbs of `relay host` open it for a moment.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { TunnelError } from '../../shared/errors.js';
import {
  checkPrivate,
  makePrivateFolder,
  removeFile,
  removeStaleTemporaries,
  writeFileAtomic,
} from '../../shared/files/atomic-file.js';
import { readTextFile } from '../../shared/files/bounded-file.js';
import { hostnameOf } from '../../shared/hostname.js';
import type { TlsMode } from '../../shared/messages.js';
import { wildcardAbove } from './routes.js';

/** Where TLS of a protected name ends. */
export type HomeTlsMode = Exclude<TlsMode, 'relay'>;

export interface ProtectedHost {
  /** Hostname or `*.` wildcard in stored form. */
  readonly host: string;
  /** The token that claimed it last. */
  readonly tokenId: string;
  readonly tls: HomeTlsMode;
}

/** How many names may be protected. */
export interface ProtectedHostLimits {
  readonly perToken: number;
  readonly inAll: number;
}

const SUFFIX = '.json';
const MAX_FILE_BYTES = 4096;
/** Longest hostname used as a file name; a file system takes 255 bytes, temporary names included. */
const MAX_PLAIN_NAME = 200;
/**
 * A token with a wildcard grant could otherwise protect names without end; all tokens together may fill half of what the
 * relay's routes hold, so that they never keep it from starting.
 */
const DEFAULT_LIMITS = { perToken: 1_000, inAll: 5_000 } as const;

export class ProtectedHosts {
  readonly #folder: string;
  readonly #limits: ProtectedHostLimits;
  readonly #hosts = new Map<string, ProtectedHost>();

  private constructor(folder: string, limits: ProtectedHostLimits) {
    this.#folder = folder;
    this.#limits = limits;
  }

  /**
   * Reads every name.
   * @throws {TunnelError} CONFIG_INVALID naming the file that cannot be used, and the cure.
   */
  static open(stateDir: string, limits: ProtectedHostLimits = DEFAULT_LIMITS): ProtectedHosts {
    const folder = path.join(stateDir, 'protected-hosts');
    makePrivateFolder(folder);
    removeStaleTemporaries(folder);
    checkPrivate(folder, fs.statSync(folder).mode);
    const hosts = new ProtectedHosts(folder, limits);
    for (const name of fs.readdirSync(folder).sort()) {
      if (!name.endsWith(SUFFIX) || name.startsWith('.')) continue;
      const entry = readEntry(path.join(folder, name));
      hosts.#hosts.set(entry.host, entry);
    }
    return hosts;
  }

  /** Every name that was protected when this was opened, or since by this process. */
  all(): readonly ProtectedHost[] {
    return [...this.#hosts.values()];
  }

  /** Whether exactly this name is protected now, as the disk has it. @throws when the disk does not tell. */
  has(host: string): boolean {
    return fs.statSync(this.#fileOf(host), { throwIfNoEntry: false }) !== undefined;
  }

  /** Whether TLS of this hostname, or of the wildcard above it, must not end here; also when the disk does not tell. */
  covers(hostname: string): boolean {
    try {
      return this.has(hostname) || this.has(wildcardAbove(hostname));
    } catch {
      return true;
    }
  }

  /** Notes a claim, on disk when this returns. @throws {TunnelError} LIMIT_EXCEEDED; CONFIG_INVALID when it cannot write. */
  protect(entry: ProtectedHost): void {
    const { host, tokenId, tls } = entry;
    const known = this.#hosts.get(host);
    if (known?.tokenId === tokenId && known.tls === tls && this.has(host)) return;
    this.#checkCount(entry);
    writeFileAtomic(this.#fileOf(host), `${JSON.stringify({ host, tokenId, tls }, undefined, 2)}\n`);
    this.#hosts.set(host, { host, tokenId, tls });
  }

  /** Removes the protection of exactly this name. False when there is none. */
  forget(host: string): boolean {
    this.#hosts.delete(host);
    return removeFile(this.#fileOf(host));
  }

  #checkCount({ host, tokenId }: ProtectedHost): void {
    if (this.#hosts.has(host)) return;
    const count = this.all().filter((other) => other.tokenId === tokenId).length;
    const { perToken, inAll } = this.#limits;
    if (count < perToken && this.#hosts.size < inAll) return;
    const whose = count < perToken ? `the relay has ${inAll}` : `its token has ${count}`;
    const cure = 'Use a wildcard. Or, on the VPS: relay host forget NAME';
    throw new TunnelError('LIMIT_EXCEEDED', `Cannot claim ${host}: ${whose} names whose TLS ends at home. ${cure}`);
  }

  #fileOf(host: string): string {
    const plain = host.replace('*', '_wildcard');
    const name = plain.length <= MAX_PLAIN_NAME ? plain : createHash('sha256').update(plain).digest('hex');
    return path.join(this.#folder, name + SUFFIX);
  }
}

function readEntry(file: string): ProtectedHost {
  const { text } = readTextFile(file, MAX_FILE_BYTES);
  try {
    const { host, tokenId, tls } = JSON.parse(text) as Partial<Record<keyof ProtectedHost, unknown>>;
    if (typeof host !== 'string' || !isStored(host)) throw new Error('host is no hostname');
    if (typeof tokenId !== 'string') throw new Error('tokenId is missing');
    if (tls !== 'end-to-end' && tls !== 'passthrough') throw new Error('tls is unknown to this version');
    return { host, tokenId, tls };
  } catch (error) {
    const state = error instanceof Error ? error.message : String(error);
    const cure = 'Restore it from a backup. Removing it lets the relay end TLS for that hostname again';
    throw new TunnelError('CONFIG_INVALID', `Cannot use ${file}: ${state}. ${cure}.`, { cause: error });
  }
}

function isStored(host: string): boolean {
  const name = host.startsWith('*.') ? host.slice(2) : host;
  return hostnameOf(name) === name;
}
