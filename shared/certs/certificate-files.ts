/**
 * CertificateFiles: decides which certificate of somebody's own files serves a hostname.
 *
 * Somebody else renews the files (certbot, acme.sh, a configuration tool). Every few seconds it looks whether one of
 * them changed, and reads that pair again. A pair that is broken at that moment, for example because only the
 * certificate was replaced so far, is reported once and tried again at every look; the old pair serves meanwhile.
 *
 * Owns: the contexts in memory, one timer. Owned by: the relay (tls.mode files); the client, for each tunnel with
 * tls: end-to-end.
 */
import * as fs from 'node:fs';
import type { SecureContext } from 'node:tls';
import { asTunnelError, TunnelError } from '../errors.js';
import { type CertificatePair, type PairFiles, readCertificatePair } from './certificate-pair.js';
import { type CertificateLog, type CertificateSource, type CertificateStatus, wildcardOf } from './certificates.js';

const DEFAULT_INTERVAL_MS = 5_000;

export interface CertificateFilesOptions {
  readonly log?: CertificateLog;
  /** Where a person would add a certificate, for messages; `under tls in relay.yaml` when left out. */
  readonly place?: string;
  /** How often to look at the files; 5,000 when left out. */
  readonly intervalMs?: number;
  /** Milliseconds since 1970; the system's clock when left out. */
  readonly now?: () => number;
}

interface Slot {
  readonly files: PairFiles;
  pair: CertificatePair;
  /** Changes whenever one of the files does; undefined to read them again at the next look. */
  stamp: string | undefined;
  /** The problem reported last, so that it is reported once. */
  problem: string | undefined;
}

export class CertificateFiles implements CertificateSource {
  readonly #slots: readonly Slot[];
  readonly #log: CertificateLog | undefined;
  readonly #now: () => number;
  readonly #place: string;
  readonly #timer: NodeJS.Timeout;
  #byName: ReadonlyMap<string, CertificatePair> = new Map();

  private constructor(slots: readonly Slot[], options: CertificateFilesOptions) {
    this.#slots = slots;
    this.#log = options.log;
    this.#now = options.now ?? Date.now;
    this.#place = options.place ?? 'under tls in relay.yaml';
    this.#index();
    for (const { pair } of slots) this.#warnIfExpired(pair);
    this.#timer = setInterval(() => this.#look(), options.intervalMs ?? DEFAULT_INTERVAL_MS);
  }

  /**
   * Reads every pair.
   * @throws {TunnelError} CONFIG_INVALID for the first pair that cannot be used, and when there is none.
   */
  static open(pairs: readonly PairFiles[], options: CertificateFilesOptions = {}): CertificateFiles {
    if (pairs.length === 0) {
      throw new TunnelError(
        'CONFIG_INVALID',
        'Cannot serve TLS: no certificate is configured. Name one, or use local-ca.',
      );
    }
    const slots = pairs.map((files) => {
      const stamp = stampOf(files);
      return { files, pair: readCertificatePair(files), stamp, problem: undefined };
    });
    return new CertificateFiles(slots, options);
  }

  /** @throws {TunnelError} CONFIG_INVALID when no certificate covers the name. */
  async prepare(hostname: string): Promise<void> {
    if (this.contextFor(hostname)) return;
    const covered = [...this.#byName.keys()].slice(0, 20).join(', ');
    const cure = `The certificates cover: ${covered}. Add one ${this.#place}.`;
    throw new TunnelError('CONFIG_INVALID', `Cannot serve ${hostname}: no certificate covers it. ${cure}`);
  }

  contextFor(hostname: string): SecureContext | undefined {
    const name = hostname.toLowerCase();
    return (this.#byName.get(name) ?? this.#byName.get(wildcardOf(name)))?.context;
  }

  /** Reads every pair again, now (SIGHUP). A broken pair is logged, and the old one serves on. */
  reload(): void {
    for (const slot of this.#slots) slot.stamp = undefined;
    this.#look();
  }

  list(): CertificateStatus[] {
    return [...this.#byName].map(([name, { expiresAtMs }]) => ({
      name,
      state: 'valid',
      issuer: 'files',
      notAfterMs: expiresAtMs,
    }));
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const changed = this.#slots.filter((slot) => slot.stamp === undefined || slot.stamp !== stampOf(slot.files));
    if (changed.filter((slot) => this.#read(slot)).length > 0) this.#index();
  }

  /** True when a pair was read; the slot keeps its old pair otherwise. */
  #read(slot: Slot): boolean {
    const stamp = stampOf(slot.files);
    try {
      slot.pair = readCertificatePair(slot.files);
      slot.stamp = stamp;
      slot.problem = undefined;
    } catch (error) {
      this.#keepOld(slot, asTunnelError(error));
      return false;
    }
    const expires = new Date(slot.pair.expiresAtMs).toISOString();
    this.#log?.info({ cert: slot.files.certFile, hostnames: slot.pair.hostnames, expires }, 'certificate loaded');
    this.#warnIfExpired(slot.pair);
    return true;
  }

  #keepOld(slot: Slot, problem: TunnelError): void {
    slot.stamp = undefined;
    if (slot.problem === problem.message) return;
    slot.problem = problem.message;
    const fields = { cert: slot.files.certFile, code: problem.code, error: problem.message };
    this.#log?.warn(fields, 'certificate not loaded, the old one serves on');
  }

  #warnIfExpired(pair: CertificatePair): void {
    if (pair.expiresAtMs > this.#now()) return;
    const expired = new Date(pair.expiresAtMs).toISOString();
    this.#log?.warn({ cert: pair.files.certFile, expired }, 'certificate has expired');
  }

  /** Of two certificates for one name the one that lives longer serves. */
  #index(): void {
    const pairs = this.#slots.map((slot) => slot.pair).sort((one, other) => one.expiresAtMs - other.expiresAtMs);
    this.#byName = new Map(pairs.flatMap((pair) => pair.hostnames.map((name) => [name, pair])));
  }
}

/** Identity, size and times of both files; a symbolic link that points elsewhere counts as a change. */
function stampOf(files: PairFiles): string {
  return `${stampOfFile(files.certFile)} ${stampOfFile(files.keyFile)}`;
}

function stampOfFile(file: string): string {
  try {
    const state = fs.statSync(file, { bigint: true });
    return `${state.ino}:${state.size}:${state.mtimeNs}:${state.ctimeNs}`;
  } catch {
    // Missing or hidden from us: reading it will say why.
    return 'unknown';
  }
}
