/**
 * LocalCa: decides which certificates the relay's own authority makes, keeps and renews (tls.mode local-ca).
 *
 *     <stateDir>/local-ca/ca.pem        what people trust: `curl --cacert`, join lines, browsers
 *     <stateDir>/local-ca/ca-key.pem    0600
 *     <stateDir>/local-ca/certs/*.pem   private key and certificate of one hostname in one file, 0600
 *
 * The CA is made on first start and is the same ever after. Server certificates are made by `prepare`, live 397 days
 * (what browsers take) and are made anew when 30 days are left. At most `maxCertificates` are kept, the least recently
 * used go first. Several processes may open the same folder: files appear whole, and the first CA wins.
 *
 * Owns: the contexts in memory, the folder, one timer. Owned by: the relay.
 */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { SecureContext } from 'node:tls';
import {
  type CertificateLog,
  type CertificateSource,
  type CertificateStatus,
  type IssuedCertificate,
  wildcardOf,
} from '../../shared/certs/certificates.js';
import { serverContext } from '../../shared/certs/server-context.js';
import { asTunnelError } from '../../shared/errors.js';
import { isCode, makePrivateFolder, removeStaleTemporaries, writeFileAtomic } from '../../shared/files/atomic-file.js';
import { readFileBytes } from '../../shared/files/bounded-file.js';
import { normalisePattern } from '../../shared/hostname.js';
import { expiryOf, type KeyAndCertificate, localCaFile, localCaFolder, openAuthority } from './local-authority.js';

const DAY_MS = 86_400_000;
const SERVER_LIFE_MS = 397 * DAY_MS;
const RENEW_WHEN_LEFT_MS = 30 * DAY_MS;
/** Home servers without a battery clock start in the past. */
const BACKDATED_MS = DAY_MS;
const RENEWAL_INTERVAL_MS = 6 * 3_600_000;
const DEFAULT_MAX_CERTIFICATES = 1_000;
/** Longest hostname used as a file name; a file system takes 255 bytes, temporary names included. */
const MAX_PLAIN_NAME = 200;

export interface LocalCaOptions {
  readonly log?: CertificateLog;
  readonly onIssued?: (issued: IssuedCertificate) => void;
  /** Milliseconds since 1970; the system's clock when left out. */
  readonly now?: () => number;
  /** How many server certificates are kept, in memory and on disk; 1,000 when left out. */
  readonly maxCertificates?: number;
}

interface ServerCertificate {
  readonly context: SecureContext;
  readonly expiresAtMs: number;
}

export class LocalCa implements CertificateSource {
  /** The CA's certificate file. */
  readonly certificateFile: string;
  /** The CA's certificate, PEM. */
  readonly certificatePem: string;
  readonly #ca: KeyAndCertificate;
  readonly #caCertificate: X509Certificate;
  readonly #folder: string;
  readonly #log: CertificateLog | undefined;
  readonly #onIssued: LocalCaOptions['onIssued'];
  readonly #now: () => number;
  readonly #maxCertificates: number;
  /** By hostname, least recently used first. */
  readonly #certificates = new Map<string, ServerCertificate>();
  readonly #preparing = new Map<string, Promise<void>>();
  /** Settles with the newest certificate: they are made one after the other, whoever asks for how many. */
  #making: Promise<unknown> = Promise.resolve();
  readonly #timer: NodeJS.Timeout;

  private constructor(stateDir: string, ca: KeyAndCertificate, options: LocalCaOptions) {
    this.certificateFile = localCaFile(stateDir);
    this.certificatePem = ca.certPem;
    this.#ca = ca;
    this.#caCertificate = new X509Certificate(ca.certPem);
    this.#folder = path.join(localCaFolder(stateDir), 'certs');
    this.#log = options.log;
    this.#onIssued = options.onIssued;
    this.#now = options.now ?? Date.now;
    this.#maxCertificates = options.maxCertificates ?? DEFAULT_MAX_CERTIFICATES;
    this.#timer = setInterval(() => void this.renew(), RENEWAL_INTERVAL_MS);
  }

  /**
   * The CA of this state folder, made on first use.
   * @throws {TunnelError} CONFIG_INVALID when its files are damaged, incomplete, expired or open to other users.
   */
  static async open(stateDir: string, options: LocalCaOptions = {}): Promise<LocalCa> {
    const folder = localCaFolder(stateDir);
    try {
      makePrivateFolder(path.join(folder, 'certs'));
      removeStaleTemporaries(folder);
      removeStaleTemporaries(path.join(folder, 'certs'));
      const ca = await openAuthority(stateDir, (options.now ?? Date.now)());
      const source = new LocalCa(stateDir, ca, options);
      source.#removeOldFiles();
      return source;
    } catch (error) {
      throw asTunnelError(error, 'CONFIG_INVALID');
    }
  }

  /** @throws {TunnelError} CONFIG_INVALID when the name is no hostname, or the disk refuses the certificate. */
  async prepare(hostname: string): Promise<void> {
    const name = normalisePattern(hostname);
    const known = this.#certificates.get(name);
    if (known && this.#isFresh(known.expiresAtMs)) return;
    const running = this.#preparing.get(name) ?? this.#load(name).finally(() => this.#preparing.delete(name));
    this.#preparing.set(name, running);
    await running;
  }

  contextFor(hostname: string): SecureContext | undefined {
    const name = hostname.toLowerCase();
    return this.#use(name) ?? this.#use(wildcardOf(name));
  }

  /** Makes every certificate anew that has less than 30 days left. A failure is logged and tried again later. */
  async renew(): Promise<void> {
    for (const [name, { expiresAtMs }] of [...this.#certificates]) {
      if (this.#isFresh(expiresAtMs)) continue;
      try {
        await this.prepare(name);
      } catch (error) {
        const { code, message } = asTunnelError(error);
        this.#log?.warn({ hostname: name, code, error: message }, 'certificate not renewed');
      }
    }
  }

  /** Its certificates come from itself: renews those that are due. */
  reload(): void {
    void this.renew();
  }

  list(): CertificateStatus[] {
    return [...this.#certificates].map(([name, { expiresAtMs }]) => ({
      name,
      state: 'valid',
      issuer: 'local-ca',
      notAfterMs: expiresAtMs,
    }));
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #use(name: string): SecureContext | undefined {
    const certificate = this.#certificates.get(name);
    if (certificate) this.#keep(name, certificate);
    return certificate?.context;
  }

  /** A Map keeps the order of insertion, so the last one is the one used last. */
  #keep(name: string, certificate: ServerCertificate): void {
    this.#certificates.delete(name);
    this.#certificates.set(name, certificate);
  }

  async #load(name: string): Promise<void> {
    const pair = this.#readFile(name) ?? (await this.#issueInTurn(name));
    const context = serverContext(pair.certPem, pair.keyPem);
    this.#keep(name, { context, expiresAtMs: expiryOf(new X509Certificate(pair.certPem)) });
    this.#forgetLeastRecentlyUsed();
  }

  #issueInTurn(name: string): Promise<KeyAndCertificate> {
    const made = this.#making.then(() => this.#issue(name));
    this.#making = made.catch(() => {});
    return made;
  }

  async #issue(name: string): Promise<KeyAndCertificate> {
    const { makeKey, makeServerCertificate } = await import('./local-issuer.js');
    const nowMs = this.#now();
    const keyPem = await makeKey();
    const toMs = Math.min(nowMs - BACKDATED_MS + SERVER_LIFE_MS, expiryOf(this.#caCertificate));
    const certPem = await makeServerCertificate(this.#ca, name, keyPem, { fromMs: nowMs - BACKDATED_MS, toMs });
    writeFileAtomic(this.#fileOf(name), keyPem + certPem);
    this.#log?.info({ hostname: name, expires: new Date(toMs).toISOString() }, 'certificate made by local CA');
    this.#onIssued?.({ hostname: name, issuer: 'local-ca', notAfterMs: toMs });
    return { keyPem, certPem };
  }

  /** The certificate made earlier; undefined when there is none that still serves: another is cheap. */
  #readFile(name: string): KeyAndCertificate | undefined {
    try {
      const pem = readFileBytes(this.#fileOf(name)).toString();
      const certificate = new X509Certificate(pem.slice(pem.indexOf('-----BEGIN CERTIFICATE')));
      const usable =
        certificate.subjectAltName === `DNS:${name}` &&
        certificate.verify(this.#caCertificate.publicKey) &&
        certificate.checkPrivateKey(createPrivateKey(pem)) &&
        this.#isFresh(expiryOf(certificate));
      return usable ? { keyPem: pem, certPem: certificate.toString() } : undefined;
    } catch (error) {
      if (!isCode(error, 'ENOENT')) {
        this.#log?.warn({ hostname: name, error: asTunnelError(error).message }, 'stored certificate unusable');
      }
      return undefined;
    }
  }

  #isFresh(expiresAtMs: number): boolean {
    return expiresAtMs - this.#now() >= RENEW_WHEN_LEFT_MS;
  }

  #forgetLeastRecentlyUsed(): void {
    for (const name of this.#certificates.keys()) {
      if (this.#certificates.size <= this.#maxCertificates) return;
      this.#certificates.delete(name);
      fs.rmSync(this.#fileOf(name), { force: true });
      this.#log?.warn({ hostname: name, limit: this.#maxCertificates }, 'certificate dropped, too many hostnames');
    }
  }

  /** Hostnames come and go over the years; what is left of them must not fill the disk. */
  #removeOldFiles(): void {
    const files = fs.readdirSync(this.#folder).map((name) => path.join(this.#folder, name));
    const withAge = files.map((file) => ({ file, writtenMs: fs.statSync(file).mtimeMs }));
    withAge.sort((one, other) => other.writtenMs - one.writtenMs);
    const deadBeforeMs = this.#now() - SERVER_LIFE_MS;
    for (const [index, { file, writtenMs }] of withAge.entries()) {
      if (index >= this.#maxCertificates || writtenMs < deadBeforeMs) fs.rmSync(file, { force: true });
    }
  }

  #fileOf(name: string): string {
    const plain = name.replace('*', '_wildcard');
    return path.join(
      this.#folder,
      `${plain.length <= MAX_PLAIN_NAME ? plain : createHash('sha256').update(plain).digest('hex')}.pem`,
    );
  }
}
