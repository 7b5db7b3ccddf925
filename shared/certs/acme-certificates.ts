/**
 * AcmeCertificates: decides for which names a program has certificates from ACME CAs, and when it looks after them.
 *
 * A name gets a certificate when somebody who may asks for it (`prepare`), never because a visitor named it. A wildcard
 * that is managed covers the names beside each other below it, and those then get none of their own. One timer runs until
 * the next thing is due, and never longer than ten minutes, so that a clock that was moved is noticed.
 *
 * Owns: the certificates in memory, the orders that run, one timer. Owned by: Relay (tls.mode acme), HomeEdge.
 */
import type { SecureContext } from 'node:tls';
import { asTunnelError, TunnelError } from '../errors.js';
import { normalisePattern } from '../hostname.js';
import type { CertificateStore } from './certificate-store.js';
import {
  type CertificateLog,
  type CertificateSource,
  type CertificateStatus,
  type IssuedCertificate,
  wildcardOf,
} from './certificates.js';
import type { ChosenCas } from './chosen-cas.js';
import type { Issuer } from './issuer.js';
import { ManagedCertificate } from './managed-certificate.js';
import { OrderBudget } from './order-budget.js';
import type { KeyType } from './private-key.js';

const LOOK_MS = 600_000;
/** Not less, so that many names that are due at about the same time share a look. */
const MIN_LOOK_MS = 1_000;
/** Ten questions about renewal may be asked within this time; they are cheaper than orders. */
const QUESTIONS_PER_MS = 1_000;

export interface AcmeCertificatesOptions {
  readonly store: CertificateStore;
  readonly issuer: Issuer;
  /** Folders of the CAs that are configured: what a former one made is to be replaced. All when left out. */
  readonly cas?: ChosenCas;
  /** Names that may have a certificate at a time. */
  readonly maxHostnames: number;
  readonly log: CertificateLog;
  /** Wildcards (`*.example.com`) that are used instead of a certificate for each name below them. */
  readonly wildcards?: readonly string[];
  readonly keyType?: KeyType | undefined;
  /**
   * Whether a name is still used; one that is not is neither ordered nor renewed nor kept in memory. A name that never got a
   * certificate may be wanted less than one that has. Everything is wanted, when left out.
   */
  readonly isWanted?: (name: string, hasCertificate: boolean) => boolean;
  /** Whether a name can be proven now; what is due waits until it can. Always, when left out. */
  readonly isReachable?: (name: string) => boolean;
  readonly onIssued?: (issued: IssuedCertificate) => void;
  /** What `list` says has changed. */
  readonly onChange?: () => void;
  /** When orders may begin; at most 10 in 10 s when left out. */
  readonly orders?: OrderBudget;
  /** Milliseconds since 1970; the system's clock when left out. */
  readonly now?: () => number;
  /** In [0, 1); Math.random when left out. */
  readonly random?: () => number;
  /** The longest time between two looks; 10 minutes when left out. */
  readonly lookMs?: number;
}

export class AcmeCertificates implements CertificateSource {
  readonly #options: AcmeCertificatesOptions;
  readonly #orders: OrderBudget;
  readonly #questions = new OrderBudget({ perMs: QUESTIONS_PER_MS });
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #wildcards: ReadonlySet<string>;
  readonly #managed = new Map<string, ManagedCertificate>();
  #timer: NodeJS.Timeout | undefined;
  /** When the timer fires; milliseconds since 1970. */
  #lookAtMs = Number.POSITIVE_INFINITY;
  #isClosed = false;

  constructor(options: AcmeCertificatesOptions) {
    this.#options = options;
    this.#orders = options.orders ?? new OrderBudget();
    this.#now = options.now ?? Date.now;
    this.#random = options.random ?? Math.random;
    this.#wildcards = new Set(options.wildcards);
  }

  /**
   * Takes what the store has for this name, and orders nothing: for a program that does not listen yet, so that a CA could
   * not reach it. False when the store has nothing.
   * @throws {TunnelError} CONFIG_INVALID when the store cannot be read; LIMIT_EXCEEDED.
   */
  load(hostname: string): boolean {
    const name = this.#nameFor(normalisePattern(hostname));
    if (this.#managed.has(name)) return true;
    const { store, cas } = this.#options;
    return store.newest(name, this.#now(), cas) !== undefined && this.#manage(name) !== undefined;
  }

  /**
   * A certificate from memory or the store is there before this returns; one that must be ordered takes until the CA has
   * issued it.
   * @throws {IssueFailure} when the CA gives none; {TunnelError} LIMIT_EXCEEDED when too many names have one, or order one.
   */
  async prepare(hostname: string): Promise<void> {
    const certificate = this.#manage(this.#nameFor(normalisePattern(hostname)));
    try {
      await certificate.ready();
    } finally {
      this.#lookBy(certificate.dueAtMs);
    }
  }

  contextFor(hostname: string): SecureContext | undefined {
    const name = hostname.toLowerCase();
    return this.#managed.get(name)?.context ?? this.#managed.get(wildcardOf(name))?.context;
  }

  /**
   * Replaces the certificate of a name now, however fresh it is.
   * @throws {IssueFailure} when the CA gives none; {TunnelError} CERTIFICATE_FAILED for a name that has none.
   */
  async renew(hostname: string): Promise<void> {
    const name = normalisePattern(hostname);
    // One that is wanted no longer, because its TLS has moved home for instance, is not ordered because somebody says so.
    this.#forgetUnwanted();
    const certificate = this.#managed.get(name) ?? this.#managed.get(wildcardOf(name));
    if (certificate === undefined) {
      const known = [...this.#managed.keys()].slice(0, 20).join(', ') || 'none';
      throw new TunnelError('CERTIFICATE_FAILED', `Cannot renew ${name}: it has no certificate here. Known: ${known}`);
    }
    try {
      await certificate.renew();
    } finally {
      this.#lookBy(certificate.dueAtMs);
    }
  }

  /** Takes what was put into the store meanwhile. */
  reload(): void {
    for (const certificate of this.#managed.values()) this.#reloadQuietly(certificate);
    this.#lookBy(0);
  }

  list(): CertificateStatus[] {
    return [...this.#managed.values()].map(({ status }) => status);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#orders.close();
    this.#questions.close();
  }

  #reloadQuietly(certificate: ManagedCertificate): void {
    try {
      certificate.reload();
    } catch (error) {
      const { code, message } = asTunnelError(error);
      const fields = { hostname: certificate.name, code, error: message };
      this.#options.log.warn(fields, 'certificate not loaded, the old one serves on');
    }
  }

  #nameFor(hostname: string): string {
    const wildcard = wildcardOf(hostname);
    const isCovered = this.#wildcards.has(wildcard) || this.#managed.get(wildcard)?.context !== undefined;
    return isCovered && this.#managed.get(hostname)?.context === undefined ? wildcard : hostname;
  }

  #manage(name: string): ManagedCertificate {
    const known = this.#managed.get(name);
    if (known !== undefined) return known;
    if (this.#managed.size >= this.#options.maxHostnames) this.#forgetUnwanted();
    if (this.#managed.size >= this.#options.maxHostnames) {
      const state = `${this.#managed.size} hostnames have certificates`;
      throw new TunnelError(
        'LIMIT_EXCEEDED',
        `Cannot get a certificate for ${name}: ${state}. Raise acme.max_hostnames.`,
      );
    }
    const { store, issuer, cas, keyType, log, onIssued, onChange = nothing } = this.#options;
    const budgets = { orders: this.#orders, questions: this.#questions };
    // Whoever waits for an order may have come long ago, so it counts whether the name may have one, not who waits.
    const mayHave = (wanted: string) => this.#options.isWanted?.(wanted, true) ?? true;
    const rules = { keyType, mayHave, onIssued, onChange, now: this.#now, random: this.#random };
    const tools = { store, issuer, cas, log, ...budgets, ...rules };
    const certificate = new ManagedCertificate(name, tools);
    this.#managed.set(name, certificate);
    return certificate;
  }

  #forgetUnwanted(): void {
    const { isWanted } = this.#options;
    if (isWanted === undefined) return;
    for (const [name, { context, isBusy }] of this.#managed) {
      if (!isBusy && !isWanted(name, context !== undefined)) this.#managed.delete(name);
    }
  }

  #look(): void {
    this.#forgetUnwanted();
    this.#lookAtMs = Number.POSITIVE_INFINITY;
    const nowMs = this.#now();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const certificate of this.#reachable()) {
      if (certificate.dueAtMs <= nowMs) void certificate.look().finally(() => this.#lookBy(certificate.dueAtMs));
      nextMs = Math.min(nextMs, certificate.dueAtMs);
    }
    this.#lookBy(nextMs);
  }

  #reachable(): ManagedCertificate[] {
    const { isReachable } = this.#options;
    const all = [...this.#managed.values()];
    return isReachable === undefined ? all : all.filter(({ name }) => isReachable(name));
  }

  /** The next look is then, or earlier. */
  #lookBy(atMs: number): void {
    if (this.#isClosed) return;
    const nowMs = this.#now();
    const waitMs = Math.min(Math.max(atMs - nowMs, MIN_LOOK_MS), this.#options.lookMs ?? LOOK_MS);
    // A timer whose moment is over belongs to a clock that was moved since.
    if (this.#lookAtMs > nowMs && nowMs + waitMs >= this.#lookAtMs) return;
    clearTimeout(this.#timer);
    this.#lookAtMs = nowMs + waitMs;
    this.#timer = setTimeout(() => this.#look(), waitMs);
  }
}

function nothing(): void {}
