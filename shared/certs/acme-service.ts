/**
 * AcmeService: builds from the section `acme` everything by which a program has certificates: store, accounts, CAs, and
 * the answers to the CAs' challenges, which the listeners ask for. Owns: all of it. Owned by: Relay, HomeEdge.
 */
import * as path from 'node:path';
import type { Log } from '../log.js';
import { AccountStore } from './account-store.js';
import { AcmeCertificates } from './acme-certificates.js';
import type { AcmeAuthority, AcmeConfig, AcmeDns } from './acme-config.js';
import { type AccountIdentity, AcmeIssuer } from './acme-issuer.js';
import { CertificateStore, IMPORTED_CA } from './certificate-store.js';
import type { IssuedCertificate } from './certificates.js';
import { DnsExecSolver } from './dns-exec-solver.js';
import { DnsUpdateSolver } from './dns-update-solver.js';
import { HttpSolver } from './http-solver.js';
import type { ChallengeSolver, ChallengeType, Issuer } from './issuer.js';
import { IssuerChain } from './issuer-chain.js';
import { TlsAlpnSolver } from './tls-alpn-solver.js';

export interface AcmeServiceOptions {
  /** Absolute folder of certificates and accounts. */
  readonly stateDir: string;
  readonly log: Log;
  /** Whether a name is still used; everything is, when left out. */
  readonly isWanted?: (name: string, hasCertificate: boolean) => boolean;
  /** Whether a name can be proven now; what is due waits until it can. Always, when left out. */
  readonly isReachable?: (name: string) => boolean;
  readonly onIssued?: (issued: IssuedCertificate) => void;
  /** What `certificates.list` says has changed. */
  readonly onChange?: () => void;
  /** Milliseconds since 1970; the system's clock when left out. */
  readonly now?: () => number;
}

export class AcmeService {
  readonly certificates: AcmeCertificates;
  /** For handshakes that offer `acme-tls/1`. */
  readonly tlsAlpn = new TlsAlpnSolver();
  /** For requests to port 80. */
  readonly http = new HttpSolver();
  readonly #issuers: readonly [AcmeIssuer, ...AcmeIssuer[]];

  private constructor(config: AcmeConfig, options: AcmeServiceOptions) {
    const { stateDir, log } = options;
    const solvers = config.challenges.map((type) => this.#solverOf(type, config.dns));
    const accounts = new AccountStore(path.join(stateDir, 'accounts'));
    const issuerOf = ({ directoryUrl, ...authority }: AcmeAuthority) =>
      new AcmeIssuer({ ...authority, directory: directoryUrl, solvers, accounts, log });
    const [first, ...others] = config.authorities;
    this.#issuers = [issuerOf(first), ...others.map(issuerOf)];
    const issuer: Issuer = others.length === 0 ? this.#issuers[0] : new IssuerChain(this.#issuers, log);
    const { keyType, maxHostnames, wildcards } = config;
    const store = CertificateStore.open(stateDir);
    store.removeOld((options.now ?? Date.now)());
    const cas = [...this.#issuers.map(({ name }) => name), IMPORTED_CA];
    this.certificates = new AcmeCertificates({ ...options, store, issuer, cas, keyType, maxHostnames, wildcards });
  }

  /** @throws {TunnelError} CONFIG_INVALID when the disk refuses. */
  static open(config: AcmeConfig, options: AcmeServiceOptions): AcmeService {
    return new AcmeService(config, options);
  }

  /**
   * Our accounts at the CAs, by which a CAA record can keep everybody else from getting a certificate.
   * @throws {IssueFailure} when a CA cannot be asked.
   */
  async identities(signal?: AbortSignal): Promise<readonly AccountIdentity[]> {
    return Promise.all(this.#issuers.map((issuer) => issuer.identity(signal)));
  }

  /** The accounts that were registered so far; asks nobody. */
  knownIdentities(): readonly AccountIdentity[] {
    return this.#issuers.flatMap((issuer) => issuer.knownIdentity() ?? []);
  }

  /**
   * Gives each account that there is a new key. Returns the names of their CAs.
   * @throws {IssueFailure} when a CA cannot be asked.
   */
  async replaceAccountKeys(signal?: AbortSignal): Promise<readonly string[]> {
    const registered = this.#issuers.filter(({ isRegistered }) => isRegistered);
    for (const issuer of registered) await issuer.replaceAccountKey(signal);
    return registered.map(({ name }) => name);
  }

  /** Ends orders and timers. Safe any number of times. */
  close(): void {
    this.certificates.close();
  }

  #solverOf(type: ChallengeType, dns: AcmeDns | undefined): ChallengeSolver {
    if (type === 'tls-alpn-01') return this.tlsAlpn;
    return type === 'http-01' || dns === undefined ? this.http : dnsSolverOf(dns);
  }
}

function dnsSolverOf(dns: AcmeDns): ChallengeSolver {
  const propagation = dns.resolvers.length === 0 ? {} : { servers: dns.resolvers };
  if (dns.kind === 'program') return new DnsExecSolver({ command: dns.command, propagation });
  const { server, key, zone } = dns;
  return new DnsUpdateSolver({ server, key, propagation, ...(zone === undefined ? {} : { zone }) });
}
