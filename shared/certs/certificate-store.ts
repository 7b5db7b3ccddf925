/**
 * CertificateStore: decides where issued certificates are kept.
 *
 *     <stateDir>/certificates/<ca>/<hostname>/fullchain.pem      certificate and intermediates
 *     <stateDir>/certificates/<ca>/<hostname>/privkey.pem        its key
 *     <stateDir>/certificates/<ca>/<hostname>/certificate.json   names, life, when to renew
 *     <stateDir>/certificates/<ca>/<hostname>/next.json          all of it in one piece, while the three are replaced
 *     <stateDir>/certificates/attempts/<hostname>.json           failures of a name that has no certificate yet
 *     <stateDir>/certificates/locks/<hostname>.lock              while somebody orders that name
 *
 * Files are 0600 and folders 0700. Three files cannot be replaced at once, so a new certificate first appears whole as
 * `next.json`; from that moment it is the certificate, and whoever writes next finishes what was begun. A wildcard's folder
 * begins with `_wildcard`. Owns: the folder. Owned by: the one who keeps certificates.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { TunnelError } from '../errors.js';
import {
  checkPrivate,
  isCode,
  makePrivateFolder,
  removeFile,
  removeStaleTemporaries,
  writeFileAtomic,
} from '../files/atomic-file.js';
import { readFileBytes } from '../files/bounded-file.js';
import { hostnameMatches } from '../hostname.js';
import { parseJsonObject } from '../json-object.js';
import { Secret } from '../secret.js';
import { type ChosenCas, isFormer, mayServe } from './chosen-cas.js';
import { belongsTo, factsOf } from './issued-chain.js';
import { type LockOptions, StoreLock } from './store-lock.js';
import { readRecord, type StoredRecord } from './stored-record.js';

/** Longest hostname used as a file name; a file system takes 255 bytes, temporary names included. */
const MAX_PLAIN_NAME = 200;
const LOCKS = 'locks';
const ATTEMPTS = 'attempts';
const NEXT = 'next.json';
/** Hostnames come and go over the years; what is left of them must not fill the disk. */
const KEPT_MS = 30 * 86_400_000;
/** The name of the CA, as a folder, for certificates that an operator brought from another program. */
export const IMPORTED_CA = 'imported';

/** A certificate with everything that we know of it. */
export interface StoredCertificate {
  /** Name of the CA's folder. */
  readonly ca: string;
  /** The hostname or wildcard that it is kept under. */
  readonly hostname: string;
  /** Names of the certificate. */
  readonly hostnames: readonly string[];
  readonly chainPem: string;
  /** PKCS#8 PEM. */
  readonly keyPem: Secret;
  /** Milliseconds since 1970. */
  readonly notBeforeMs: number;
  /** Milliseconds since 1970. */
  readonly notAfterMs: number;
  readonly record: StoredRecord;
}

/** What a new certificate consists of. */
export interface NewCertificate {
  readonly chainPem: string;
  readonly keyPem: Secret;
  readonly record?: StoredRecord;
}

export class CertificateStore {
  readonly #folder: string;
  readonly #lockOptions: LockOptions;

  private constructor(folder: string, lockOptions: LockOptions) {
    this.#folder = folder;
    this.#lockOptions = lockOptions;
  }

  /** @throws {TunnelError} CONFIG_INVALID when the disk refuses. */
  static open(stateDir: string, lockOptions: LockOptions = {}): CertificateStore {
    const folder = path.join(stateDir, 'certificates');
    for (const name of [LOCKS, ATTEMPTS]) {
      makePrivateFolder(path.join(folder, name));
      removeStaleTemporaries(path.join(folder, name));
    }
    return new CertificateStore(folder, lockOptions);
  }

  /**
   * The certificate of one CA; undefined when there is none that can be used.
   * @throws {TunnelError} CONFIG_INVALID when other users can read its key, or this user cannot.
   */
  read(ca: string, hostname: string): StoredCertificate | undefined {
    const folder = this.#folderOf(ca, hostname);
    // The second look is for the moment in which another process has replaced one of the files and not the other.
    return this.#readOnce(ca, hostname, folder) ?? this.#readOnce(ca, hostname, folder);
  }

  /**
   * Of this name's certificates the one that came last and has not expired: one that lives longer may be the one that was
   * revoked, or whose CA gave no other. One of a former CA counts while it lives and `cas` have given none that does.
   * @param cas the CAs that are configured; all when left out.
   */
  newest(hostname: string, nowMs = Date.now(), cas?: ChosenCas): StoredCertificate | undefined {
    const isOver = ({ notAfterMs }: StoredCertificate) => Number(notAfterMs <= nowMs);
    const isOld = ({ ca }: StoredCertificate) => Number(isFormer(ca, cas));
    const found = this.#cas()
      .filter((ca) => mayServe(ca, cas))
      .flatMap((ca) => this.read(ca, hostname) ?? [])
      .filter((stored) => !isOld(stored) || !isOver(stored));
    found.sort(
      (one, other) =>
        isOver(one) - isOver(other) ||
        isOld(one) - isOld(other) ||
        cameAtMs(other) - cameAtMs(one) ||
        other.notAfterMs - one.notAfterMs,
    );
    return found[0];
  }

  /** Every certificate that can be used, each name once, by name. */
  list(): StoredCertificate[] {
    const names = new Set(this.#cas().flatMap((ca) => this.#namesOf(ca)));
    return [...names].sort().flatMap((name) => this.newest(name) ?? []);
  }

  /**
   * Keeps a certificate in place of the one before. Call with the name's lock held.
   * @throws {TunnelError} CONFIG_INVALID when the disk refuses, or key and certificate do not belong together.
   */
  save(ca: string, hostname: string, { chainPem, keyPem, record = {} }: NewCertificate): void {
    if (!belongsTo(chainPem, keyPem)) {
      throw new TunnelError(
        'CONFIG_INVALID',
        `Cannot keep the certificate for ${hostname}: it belongs to another key.`,
      );
    }
    const folder = this.#folderOf(ca, hostname);
    makePrivateFolder(folder);
    removeStaleTemporaries(folder);
    const next = { hostname, fullchain: chainPem, privkey: keyPem.reveal(), record };
    writeFileAtomic(path.join(folder, NEXT), JSON.stringify(next));
    spread(folder, hostname, { chain: chainPem, key: keyPem.reveal(), record });
    removeFile(this.#attemptsOf(hostname));
  }

  /** What is known of the attempts for a name that never got a certificate; empty when there was none. */
  readAttempts(hostname: string): StoredRecord {
    return readRecord(
      parseJsonObject(
        readText(path.dirname(this.#attemptsOf(hostname)), path.basename(this.#attemptsOf(hostname))) ?? '',
      ),
    );
  }

  /** Keeps that, so that a program that is started again and again does not use up what the CA allows. */
  saveAttempts(hostname: string, record: StoredRecord): void {
    writeFileAtomic(this.#attemptsOf(hostname), recordText(hostname, undefined, record));
  }

  /** Keeps when a certificate is to be renewed or why that failed. Call with the name's lock held. */
  saveRecord(ca: string, hostname: string, record: StoredRecord): void {
    const folder = this.#folderOf(ca, hostname);
    const next = readNext(folder);
    if (next !== undefined) spread(folder, hostname, { ...next, record });
    else
      writeFileAtomic(
        path.join(folder, 'certificate.json'),
        recordText(hostname, readText(folder, 'fullchain.pem'), record),
      );
  }

  /** Removes a name's certificate of one CA. Returns false when there was none. */
  remove(ca: string, hostname: string): boolean {
    const folder = this.#folderOf(ca, hostname);
    if (!fs.existsSync(folder)) return false;
    fs.rmSync(folder, { recursive: true, force: true });
    return true;
  }

  /**
   * Removes what nobody can use: certificates that expired long ago, and what is known of attempts that old. Certificates
   * only while another one lives: to a clock that is years ahead all of them are over.
   */
  removeOld(nowMs: number): void {
    const deadMs = nowMs - KEPT_MS;
    const stored = this.#cas().flatMap((ca) => this.#namesOf(ca).flatMap((name) => this.read(ca, name) ?? []));
    if (stored.some(({ notAfterMs }) => notAfterMs > nowMs)) {
      for (const { ca, hostname, notAfterMs } of stored) if (notAfterMs < deadMs) this.remove(ca, hostname);
    }
    const folder = path.join(this.#folder, ATTEMPTS);
    for (const name of fs.readdirSync(folder)) {
      const file = path.join(folder, name);
      if ((fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? nowMs) < deadMs) removeFile(file);
    }
  }

  /** Waits until no other process and nobody else here orders this name. */
  lock(hostname: string, signal: AbortSignal): Promise<StoreLock> {
    return StoreLock.take(path.join(this.#folder, LOCKS, `${folderName(hostname)}.lock`), signal, this.#lockOptions);
  }

  #readOnce(ca: string, hostname: string, folder: string): StoredCertificate | undefined {
    const files = readNext(folder) ?? readThree(folder);
    if (files === undefined) return undefined;
    try {
      const keyPem = new Secret(files.key);
      if (!belongsTo(files.chain, keyPem)) return undefined;
      const { hostnames, notBeforeMs, notAfterMs } = factsOf(files.chain);
      // Whoever put another name's certificate here, it must not reach this name's visitors.
      if (!hostnames.some((name) => hostnameMatches(name, hostname))) return undefined;
      return { ca, hostname, hostnames, chainPem: files.chain, keyPem, notBeforeMs, notAfterMs, record: files.record };
    } catch {
      // Damaged: as good as none, a new one will be ordered.
      return undefined;
    }
  }

  #cas(): string[] {
    return foldersIn(this.#folder).filter((name) => ![LOCKS, ATTEMPTS].includes(name));
  }

  #namesOf(ca: string): string[] {
    const folders = foldersIn(path.join(this.#folder, ca)).map((name) => path.join(this.#folder, ca, name));
    return folders.flatMap((folder) => readNext(folder)?.hostname ?? hostnameIn(folder) ?? []);
  }

  #attemptsOf(hostname: string): string {
    return path.join(this.#folder, ATTEMPTS, `${folderName(hostname)}.json`);
  }

  #folderOf(ca: string, hostname: string): string {
    return path.join(this.#folder, folderName(ca), folderName(hostname));
  }
}

/** What else people and programs leave there is not ours. */
function foldersIn(folder: string): string[] {
  const entries = fs.readdirSync(folder, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

function cameAtMs({ record, notBeforeMs }: StoredCertificate): number {
  return record.issuedAtMs ?? notBeforeMs;
}

interface Files {
  readonly chain: string;
  readonly key: string;
  readonly record: StoredRecord;
}

/** Puts the three files in place of the old ones; what `next.json` says holds until all are there. */
function spread(folder: string, hostname: string, { chain, key, record }: Files): void {
  writeFileAtomic(path.join(folder, 'privkey.pem'), key);
  writeFileAtomic(path.join(folder, 'fullchain.pem'), chain);
  writeFileAtomic(path.join(folder, 'certificate.json'), recordText(hostname, chain, record));
  removeFile(path.join(folder, NEXT));
}

/** For people too: the life is a copy of what the certificate says. */
function recordText(hostname: string, chain: string | undefined, record: StoredRecord): string {
  const facts = chain === undefined ? undefined : factsOf(chain);
  const life = facts && {
    hostnames: facts.hostnames,
    signedBy: facts.signedBy,
    serial: facts.serial,
    notBefore: new Date(facts.notBeforeMs).toISOString(),
    notAfter: new Date(facts.notAfterMs).toISOString(),
  };
  return `${JSON.stringify({ hostname, ...life, ...record }, undefined, 2)}\n`;
}

function readNext(folder: string): (Files & { readonly hostname: string }) | undefined {
  const text = readPrivate(folder, NEXT);
  if (text === undefined) return undefined;
  const { hostname, fullchain, privkey, record } = parseJsonObject(text);
  if (typeof hostname !== 'string' || typeof fullchain !== 'string' || typeof privkey !== 'string') return undefined;
  return { hostname, chain: fullchain, key: privkey, record: readRecord(record) };
}

function readThree(folder: string): Files | undefined {
  const [chain, key] = [readText(folder, 'fullchain.pem'), readPrivate(folder, 'privkey.pem')];
  if (chain === undefined || key === undefined) return undefined;
  return { chain, key, record: readRecord(parseJsonObject(readText(folder, 'certificate.json') ?? '')) };
}

function hostnameIn(folder: string): string | undefined {
  const { hostname } = parseJsonObject(readText(folder, 'certificate.json') ?? '');
  return typeof hostname === 'string' ? hostname : undefined;
}

function readPrivate(folder: string, name: string): string | undefined {
  const file = path.join(folder, name);
  const state = fs.statSync(file, { throwIfNoEntry: false });
  if (state) checkPrivate(file, state.mode);
  return state && readText(folder, name);
}

function readText(folder: string, name: string): string | undefined {
  const file = path.join(folder, name);
  try {
    return readFileBytes(file).toString();
  } catch (error) {
    if (isCode(error, 'ENOENT') || isCode(error, 'ENOTDIR')) return undefined;
    const state = error instanceof Error ? error.message : String(error);
    throw new TunnelError('CONFIG_INVALID', `Cannot read ${file}: ${state}. Run as the owner of the state folder.`, {
      cause: error,
    });
  }
}

/** Never `.`, `..` or a path: names come from claims. */
function folderName(name: string): string {
  const plain = name
    .replace('*', '_wildcard')
    .replaceAll(/[^A-Za-z0-9._-]/g, '_')
    .replace(/^\.+/, '_');
  return plain.length <= MAX_PLAIN_NAME ? plain : createHash('sha256').update(name).digest('hex');
}
