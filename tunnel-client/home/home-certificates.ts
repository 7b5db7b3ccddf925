/**
 * HomeCertificates: decides with which certificate each end-to-end tunnel is served: that of its own files, or one from an
 * ACME CA that is got through the tunnel itself, while the relay sees ciphertext.
 *
 * Only names of tunnels in the config file ever get one, and only while their tunnel is up: the CA's question
 * (TLS-ALPN-01) comes the same way as visitors do. What is in the store is served at once, without the CA.
 *
 * Owns: the files' watches, the AcmeService. Owned by: HomeEdge.
 */
import type { SecureContext } from 'node:tls';
import type { AcmeConfig } from '../../shared/certs/acme-config.js';
import { AcmeService } from '../../shared/certs/acme-service.js';
import { caaRecords } from '../../shared/certs/caa-advice.js';
import { CertificateFiles } from '../../shared/certs/certificate-files.js';
import type { PairFiles } from '../../shared/certs/certificate-pair.js';
import { type CertificateSource, type CertificateStatus, wildcardOf } from '../../shared/certs/certificates.js';
import { asTunnelError, TunnelError } from '../../shared/errors.js';
import { hostnameMatches } from '../../shared/hostname.js';
import type { Log } from '../../shared/log.js';
import type { ClientTunnel } from '../client-tunnel.js';
import type { CertificateNews, HomeCertificate } from '../ops/client-status.js';
import type { TunnelSpec } from '../tunnel-config.js';

export interface HomeCertificatesOptions {
  readonly acme: AcmeConfig;
  /** Absolute folder of certificates and accounts. */
  readonly stateDir: string;
  readonly log: Log;
  /** The certificate of this tunnel, which comes from a CA, was ordered, came, or did not. */
  readonly onCertificate: (tunnel: ClientTunnel, news: CertificateNews) => void;
}

/** A tunnel whose TLS ends here. */
interface Served {
  readonly tunnel: ClientTunnel;
  readonly host: string;
  readonly source: CertificateSource;
  /** What was told last of a certificate that comes from a CA. */
  told: string;
  /** Records of DNS; read again only when something has changed, because people look once a second. */
  caa: readonly string[];
}

const NO_FAILURE = { error: undefined, retryAt: undefined };

export class HomeCertificates {
  readonly #options: HomeCertificatesOptions;
  readonly #served = new Map<string, Served>();
  #acme: AcmeService | undefined;

  private constructor(options: HomeCertificatesOptions) {
    this.#options = options;
  }

  /**
   * Reads the certificates of all end-to-end tunnels.
   * @throws {TunnelError} CONFIG_INVALID when one cannot be used or does not cover its tunnel's hostname.
   */
  static open(tunnels: Iterable<ClientTunnel>, options: HomeCertificatesOptions): HomeCertificates {
    const certificates = new HomeCertificates(options);
    try {
      for (const tunnel of tunnels) certificates.#add(tunnel);
      return certificates;
    } catch (error) {
      certificates.close();
      throw asTunnelError(error);
    }
  }

  /** Whether TLS of this tunnel ends here. */
  serves({ spec }: ClientTunnel): boolean {
    return this.#served.has(spec.name);
  }

  /** The certificate for a visitor of this tunnel who asks for this name; undefined for another name, or while there is none. */
  contextFor({ spec }: ClientTunnel, hostname: string): SecureContext | undefined {
    const served = this.#served.get(spec.name);
    return served && hostnameMatches(served.host, hostname) ? served.source.contextFor(hostname) : undefined;
  }

  /** What answers a CA that came through this tunnel; undefined unless this name is being proven. */
  challengeFor({ spec }: ClientTunnel, hostname: string): SecureContext | undefined {
    return hostnameMatches(spec.host ?? '', hostname) ? this.#acme?.tlsAlpn.contextFor(hostname) : undefined;
  }

  /** Visitors reach the tunnel from now on, and so does the CA: gets a certificate if there is none. */
  up(tunnel: ClientTunnel): void {
    const served = this.#served.get(tunnel.spec.name);
    if (served === undefined || served.source !== this.#acme?.certificates) return;
    // A failure is in the status, and the next attempt comes by itself.
    served.source.prepare(served.host).then(this.#tell, this.#tell);
    this.#tell();
  }

  /** Undefined for tunnels whose TLS ends elsewhere. */
  statusOf({ spec }: ClientTunnel): HomeCertificate | undefined {
    const served = this.#served.get(spec.name);
    if (served === undefined) return undefined;
    const status = statusIn(served.source.list(), served.host) ?? { name: served.host, state: 'missing' };
    const { state, issuer, notAfterMs, renewAtMs, lastError, retryAtMs } = status;
    const { caa, told, source } = served;
    // What was told of was looked up.
    const isUnnamed =
      told !== '' && caa.length === 0 && source === this.#acme?.certificates && notAfterMs !== undefined;
    const more = isUnnamed ? { isCaaUnnamed: true } : {};
    return { state, issuer, notAfterMs, renewAtMs, lastError, retryAtMs, caa, ...more };
  }

  /** Ends orders, timers and watches. Safe any number of times. */
  close(): void {
    for (const { source } of this.#served.values()) source.close();
    this.#acme?.close();
  }

  #add(tunnel: ClientTunnel): void {
    const { name, host, tls, certificate } = tunnel.spec;
    if (tls !== 'end-to-end' || host === undefined) return;
    const source =
      certificate === undefined ? this.#openAcme().certificates : this.#openFiles(tunnel.spec, certificate);
    this.#served.set(name, { tunnel, host, source, told: '', caa: [] });
  }

  #openFiles(spec: TunnelSpec, files: PairFiles): CertificateSource {
    const place = `to tunnel ${spec.name} in tunnel.yaml`;
    const certificates = CertificateFiles.open([files], { log: this.#options.log, place });
    if (certificates.contextFor(spec.host ?? '') !== undefined) return certificates;
    certificates.close();
    const covered = certificates.list().map((entry) => entry.name);
    throw uncovered(spec, covered);
  }

  #openAcme(): AcmeService {
    const { acme, stateDir, log } = this.#options;
    const isReachable = (name: string) => this.#isReachable(name);
    this.#acme ??= AcmeService.open(acme, { stateDir, log, isReachable, onChange: () => this.#tell() });
    return this.#acme;
  }

  /** A name (or the wildcard for several) whose tunnel is up. */
  #isReachable(name: string): boolean {
    return [...this.#served.values()].some(
      ({ tunnel, host }) => tunnel.state === 'online' && hostnameMatches(name, host),
    );
  }

  readonly #tell = (): void => {
    for (const served of this.#served.values()) {
      if (this.#acme === undefined || served.source !== this.#acme.certificates) continue;
      const status = this.statusOf(served.tunnel);
      if (status === undefined || status.state === 'missing') continue;
      const state = newsState(status);
      const told = [state, status.notAfterMs, status.retryAtMs].join(' ');
      if (told === served.told) continue;
      // One that was in the store was told of when it came.
      const isFirst = state === 'valid' && served.told !== '' && !served.told.startsWith('valid');
      served.told = told;
      served.caa = caaRecords(served.host, this.#acme.knownIdentities());
      this.#options.onCertificate(served.tunnel, newsOf(served, status, isFirst ? served.caa : []));
    }
  };
}

/** The refusal of a certificate for other names than the tunnel's. */
export function uncovered({ name, host, certificate }: TunnelSpec, covered: readonly string[]): TunnelError {
  const state = `its certificate ${certificate?.certFile} covers ${covered.join(', ')}, not ${host}`;
  return new TunnelError('CONFIG_INVALID', `Cannot serve tunnel ${name}: ${state}. Name one that covers it.`);
}

function newsState({ state, notAfterMs }: HomeCertificate): CertificateNews['state'] {
  if (state === 'waiting') return 'failed';
  return notAfterMs === undefined ? 'issuing' : 'valid';
}

function newsOf({ host }: Served, status: HomeCertificate, caa: readonly string[]): CertificateNews {
  const { issuer, notAfterMs, lastError, retryAtMs } = status;
  const state = newsState(status);
  const failure = state === 'failed' ? { error: lastError, retryAt: timeText(retryAtMs) } : NO_FAILURE;
  return { state, host, issuer, notAfter: timeText(notAfterMs), ...failure, caa };
}

function timeText(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}

/** A wildcard that is there serves the names below it, which then have none of their own. */
function statusIn(list: readonly CertificateStatus[], host: string): CertificateStatus | undefined {
  return list.find(({ name }) => name === host) ?? list.find(({ name }) => name === wildcardOf(host));
}
