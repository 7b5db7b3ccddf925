/**
 * RelayCertificates: decides where the relay's certificates come from (tls.mode), and when they must be there: at the
 * start, for a claim, and for `/readyz`.
 *
 * With local-ca and files a certificate is there as soon as it is asked for. With acme it may take minutes, and the CA must
 * reach this relay meanwhile: so at the start only the store is read, orders begin when the listeners are open, and a claim
 * waits for a bounded time.
 *
 * Owns: the source. Owned by: Relay.
 */
import type { SecureContext } from 'node:tls';
import { checkAcme } from '../../shared/certs/acme-check.js';
import { AcmeService } from '../../shared/certs/acme-service.js';
import { CertificateFiles } from '../../shared/certs/certificate-files.js';
import {
  type CertificateSource,
  type CertificateStatus,
  type IssuedCertificate,
  wildcardOf,
} from '../../shared/certs/certificates.js';
import { roundedSpan } from '../../shared/command/terminal-text.js';
import { asTunnelError, TunnelError } from '../../shared/errors.js';
import type { Log } from '../../shared/log.js';
import { shortened } from '../../shared/printable.js';
import type { RelayConfig } from '../relay-config.js';
import { LocalCa } from './local-ca.js';

/** How long a claim waits for a CA; the order goes on after that. */
const CLAIM_WAIT_MS = 60_000;
/** A control message takes 1,024 characters. */
const MAX_FAILURE = 800;

export interface RelayCertificatesOptions {
  readonly log: Log;
  /** Whether a hostname may still be claimed; one that may not is not renewed. Without a certificate: whether it is. */
  readonly isWanted: (hostname: string, hasCertificate: boolean) => boolean;
  readonly onIssued?: ((issued: IssuedCertificate) => void) | undefined;
  /** Milliseconds since 1970; the system's clock when left out. */
  readonly now?: (() => number) | undefined;
  /** How long a claim waits; 60 s when left out. */
  readonly claimWaitMs?: number | undefined;
}

export class RelayCertificates {
  readonly source: CertificateSource;
  readonly #acme: AcmeService | undefined;
  readonly #options: RelayCertificatesOptions;
  readonly #wildcards: readonly string[];

  private constructor(
    source: CertificateSource,
    acme: AcmeService | undefined,
    options: RelayCertificatesOptions,
    wildcards: readonly string[] = [],
  ) {
    this.#wildcards = wildcards;
    this.source = source;
    this.#acme = acme;
    this.#options = options;
  }

  /** @throws {TunnelError} CONFIG_INVALID when files of the configuration or the state folder cannot be used. */
  static async open(config: RelayConfig, options: RelayCertificatesOptions): Promise<RelayCertificates> {
    const { tls, stateDir } = config;
    const { log } = options;
    const issued = options.onIssued ? { onIssued: options.onIssued } : {};
    if (tls.mode === 'local-ca')
      return new RelayCertificates(await LocalCa.open(stateDir, { log, ...issued }), undefined, options);
    if (tls.mode === 'files') {
      return new RelayCertificates(CertificateFiles.open(tls.certificates, { log }), undefined, options);
    }
    checkAcme(config.acme);
    const { isWanted, now } = options;
    const acme = AcmeService.open(config.acme, { stateDir, log, isWanted, ...issued, ...(now ? { now } : {}) });
    return new RelayCertificates(acme.certificates, acme, options, config.acme.wildcards);
  }

  /** Edge: the answer to a CA's TLS-ALPN-01 challenge. */
  readonly challengeContextFor = (hostname: string): SecureContext | undefined =>
    this.#acme?.tlsAlpn.contextFor(hostname);

  /** Redirect: the answer to a CA's HTTP-01 challenge. */
  readonly challengeAnswer = (hostname: string, path: string): string | undefined =>
    this.#acme?.http.answer(hostname, path);

  /**
   * Before the relay listens: makes ready what can be made ready without a CA.
   * @throws {TunnelError} as `prepare` of the source.
   */
  async prepareAtStart(hostname: string): Promise<void> {
    if (this.#acme === undefined) await this.source.prepare(hostname);
    else for (const name of [hostname, ...this.#wildcards]) this.#acme.certificates.load(name);
  }

  /**
   * The relay listens: its own name may be ordered now, and then the wildcards, which whoever claims a name below them would
   * wait for. A failure is logged, and tried again by itself.
   */
  begin(domain: string): void {
    for (const name of [domain, ...this.#wildcards]) this.source.prepare(name).catch(() => {});
  }

  /** Resolves when a claimed hostname has its certificate. @throws {TunnelError} CERTIFICATE_FAILED … with the cure. */
  async prepareForClaim(hostname: string): Promise<void> {
    const prepared = this.source.prepare(hostname);
    if (this.#acme === undefined) return prepared;
    const waitMs = this.#options.claimWaitMs ?? CLAIM_WAIT_MS;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(this.#lateFor(hostname, waitMs)), waitMs);
    });
    try {
      await Promise.race([prepared, late]);
    } catch (error) {
      throw withNextAttempt(asTunnelError(error), hostname);
    } finally {
      clearTimeout(timer);
    }
  }

  #lateFor(hostname: string, waitMs: number): TunnelError {
    const isAwaited = this.#statusOf(hostname)?.awaits === 'dns';
    const [who, state] = isAwaited
      ? ['its DNS record is awaited', 'The CA is asked once it is there']
      : [`the CA has not issued its certificate for ${roundedSpan(waitMs)}`, 'It is still asked'];
    return new TunnelError('CERTIFICATE_FAILED', `Cannot serve ${hostname} yet: ${who}. ${state}.`);
  }

  #statusOf(hostname: string): CertificateStatus | undefined {
    const names = [hostname, wildcardOf(hostname)];
    return this.source.list().find(({ name }) => names.includes(name));
  }

  /** Why visitors of the relay's own name meet no valid certificate; undefined when they do. */
  problemOf(domain: string): string | undefined {
    if (this.#acme === undefined) return undefined;
    const nowMs = (this.#options.now ?? Date.now)();
    const status = this.#statusOf(domain);
    if (status?.notAfterMs !== undefined && status.notAfterMs > nowMs) return undefined;
    const state = status?.notAfterMs === undefined ? 'there is no certificate yet' : 'the certificate has expired';
    return `${state} for ${domain}${status?.lastError === undefined ? '' : `. ${status.lastError}`}`;
  }

  /**
   * Replaces a certificate now.
   * @throws {TunnelError} CERTIFICATE_FAILED when the CA gives none; USAGE_INVALID where certificates are not ordered.
   */
  async renew(hostname: string): Promise<void> {
    if (this.#acme !== undefined) return this.#acme.certificates.renew(hostname);
    throw new TunnelError('USAGE_INVALID', `Cannot renew ${hostname}: only tls.mode acme orders certificates.`);
  }

  list(): CertificateStatus[] {
    return this.source.list();
  }

  reload(): void {
    this.source.reload();
  }

  /** Ends orders and timers. Safe any number of times. */
  close(): void {
    this.source.close();
  }
}

/** For the one at home, who sees only this. */
function withNextAttempt(error: TunnelError, hostname: string): TunnelError {
  const { code, message, retryInMs } = error;
  if (code !== 'CERTIFICATE_FAILED' || retryInMs === undefined) return error;
  const next = `The next attempt is in ${roundedSpan(retryInMs)}; at once, on the VPS: relay cert renew ${hostname}`;
  return new TunnelError(code, `${shortened(message, MAX_FAILURE)} ${next}`, { cause: error, retryInMs });
}
