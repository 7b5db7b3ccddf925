/**
 * ManagedCertificate: decides the life of the certificate for one name: loaded from the store, ordered when there is none,
 * renewed when the CA or its age says so, tried again after a failure.
 *
 *   missing → issuing → valid → renewing → valid      a failure leads to waiting, and from there to issuing or renewing
 *
 * One that is there is served in each of these states. When something is to be done is `dueAtMs`; the owner's clock calls
 * `look` then. Owns: the context in memory. Owned by: AcmeCertificates.
 */
import type { SecureContext } from 'node:tls';
import { asTunnelError, TunnelError } from '../errors.js';
import { type CertificateStore, IMPORTED_CA, type StoredCertificate } from './certificate-store.js';
import type { CertificateLog, CertificateStatus, IssuedCertificate } from './certificates.js';
import { type ChosenCas, isFormer, withoutFormerFailure } from './chosen-cas.js';
import { IssueFailure } from './issue-failure.js';
import type { Issuer, IssueStep } from './issuer.js';
import { obtainCertificate } from './obtain-certificate.js';
import type { OrderBudget } from './order-budget.js';
import type { KeyType } from './private-key.js';
import { calmUntil, plausible, renewalTime, retryDelay } from './renewal-time.js';
import { serverContext } from './server-context.js';
import type { StoredRecord } from './stored-record.js';

const HOUR_MS = 3_600_000;
/** How soon a CA without renewal information is asked again whether it has some, and one that did not answer. */
const ASK_AGAIN_MS = 24 * HOUR_MS;
const ASK_AFTER_FAILURE_MS = 6 * HOUR_MS;

/** What all certificates of a program share. */
export interface CertificateTools {
  readonly store: CertificateStore;
  readonly issuer: Issuer;
  readonly cas: ChosenCas;
  /** When orders may begin. */
  readonly orders: OrderBudget;
  /** When questions about renewal may be asked. */
  readonly questions: OrderBudget;
  readonly keyType: KeyType | undefined;
  readonly log: CertificateLog;
  /** Whether somebody may still have a certificate for this name; asked when its turn to order has come. */
  readonly mayHave: (name: string) => boolean;
  readonly onIssued: ((issued: IssuedCertificate) => void) | undefined;
  /** The status of a certificate has changed. */
  readonly onChange: () => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** In [0, 1). */
  readonly random: () => number;
}

export class ManagedCertificate {
  readonly name: string;
  readonly #tools: CertificateTools;
  #stored: StoredCertificate | undefined;
  #context: SecureContext | undefined;
  /** Chain of a stored certificate that TLS cannot use. */
  #unusable: string | undefined;
  #record: StoredRecord = {};
  #attempt: Promise<void> | undefined;
  /** What a running order waits for. */
  #step: IssueStep = 'ca';
  #isLooking = false;

  /** @throws {TunnelError} CONFIG_INVALID when the store cannot be read. */
  constructor(name: string, tools: CertificateTools) {
    this.name = name;
    this.#tools = tools;
    this.reload();
    this.#logPause();
  }

  /** The certificate for visitors; undefined while there is none. */
  get context(): SecureContext | undefined {
    return this.#context;
  }

  /** Whether the CA is being asked for something. */
  get isBusy(): boolean {
    return this.#attempt !== undefined || this.#isLooking;
  }

  /** When there is something to do next; milliseconds since 1970, Infinity while something is being done. */
  get dueAtMs(): number {
    if (this.isBusy) return Number.POSITIVE_INFINITY;
    return Math.min(this.#orderAtMs, this.#isToBeReplaced ? Number.POSITIVE_INFINITY : this.#askAtMs);
  }

  get status(): CertificateStatus {
    const { renewAtMs, lastError, retryAtMs } = this.#record;
    const notAfterMs = this.#stored?.notAfterMs;
    const isOld = this.#stored !== undefined && this.#isToBeReplaced;
    return {
      name: this.name,
      state: this.#state,
      issuer: this.#stored?.ca,
      notAfterMs,
      renewAtMs: isOld ? this.#tools.now() : renewAtMs,
      lastError,
      retryAtMs,
      awaits: this.#attempt === undefined ? undefined : this.#step,
    };
  }

  /** Takes what another process, or an import, has put into the store. */
  reload(): void {
    const { store, cas, now } = this.#tools;
    const stored = store.newest(this.name, now(), cas);
    if (stored === undefined) this.#record = withoutFormerFailure(store.readAttempts(this.name), cas);
    else if (stored.chainPem !== this.#stored?.chainPem) this.#serveIfUsable(stored);
  }

  /**
   * Resolves when there is a certificate that has not expired.
   * @throws {IssueFailure} at once when the last attempt failed and the next one is not due; {TunnelError}.
   */
  async ready(): Promise<void> {
    const nowMs = this.#tools.now();
    if (this.#stored !== undefined && this.#stored.notAfterMs > nowMs) return;
    const { lastError } = this.#record;
    const retryAtMs = this.#retryAtMs;
    if (this.#attempt === undefined && retryAtMs > nowMs && lastError !== undefined) {
      throw new IssueFailure('order', lastError, { retryInMs: retryAtMs - nowMs });
    }
    await this.#order();
  }

  /**
   * Replaces the certificate now, however fresh it is, and whatever failed before.
   * @throws {IssueFailure} when the CA gives none; {TunnelError} CERTIFICATE_FAILED when nobody may have one.
   */
  renew(): Promise<void> {
    return this.#order({ isForced: true });
  }

  /** Does what is due. Never rejects: a failure is logged and kept. */
  async look(): Promise<void> {
    if (this.dueAtMs > this.#tools.now()) return;
    this.#isLooking = true;
    try {
      if (!this.#isOrderDue) await this.#ask();
      // What the CA just said may mean: now (RFC 9773 §4.2; so it is for a certificate that was revoked).
      if (this.#isOrderDue) await this.#order();
    } catch {
      // Said by #fail; or too many wait, or the program stops.
    } finally {
      this.#isLooking = false;
    }
  }

  get #state(): CertificateStatus['state'] {
    const has = this.#stored !== undefined;
    if (this.#attempt !== undefined) return has ? 'renewing' : 'issuing';
    if (this.#retryAtMs > this.#tools.now()) return 'waiting';
    return has ? 'valid' : 'missing';
  }

  /** When to order; at once without a certificate, but never before the pause after a failure is over. */
  get #orderAtMs(): number {
    const { renewAtMs = 0, issuedAtMs = 0, hasty = 0 } = this.#record;
    const calmUntilMs = plausible(calmUntil(issuedAtMs, hasty), this.#tools.now());
    const wishedMs = this.#isToBeReplaced ? 0 : Math.max(renewAtMs, calmUntilMs);
    return Math.max(wishedMs, this.#retryAtMs);
  }

  /** Nothing is there, or a certificate whose CA is configured no more: the one that is knows nothing of it. */
  get #isToBeReplaced(): boolean {
    return this.#stored === undefined || isFormer(this.#stored.ca, this.#tools.cas);
  }

  /** The end of the pause after a failure. */
  get #retryAtMs(): number {
    return plausible(this.#record.retryAtMs ?? 0, this.#tools.now());
  }

  get #isOrderDue(): boolean {
    return this.#orderAtMs <= this.#tools.now();
  }

  get #askAtMs(): number {
    return plausible(this.#record.askAgainAtMs ?? 0, this.#tools.now());
  }

  #order({ isForced = false } = {}): Promise<void> {
    if (this.#attempt !== undefined) return this.#attempt;
    const { orders, onChange } = this.#tools;
    this.#attempt = orders
      .run(this.name, async (signal) => {
        this.#refuseUnwanted();
        return this.#obtain(signal, isForced).catch((error: unknown) => this.#fail(error, signal));
      })
      .finally(() => {
        this.#attempt = undefined;
        onChange();
      });
    onChange();
    return this.#attempt;
  }

  /** Its turn may have come long after it was asked for. */
  #refuseUnwanted(): void {
    if (this.#tools.mayHave(this.name)) return;
    const state = 'nobody may claim it here any more';
    throw new TunnelError('CERTIFICATE_FAILED', `Cannot get a certificate for ${this.name}: ${state}.`);
  }

  #ask(): Promise<void> {
    return this.#tools.questions.run(this.name, (signal) => this.#askWindow(signal));
  }

  async #obtain(signal: AbortSignal, isForced: boolean): Promise<void> {
    const { store, issuer, cas, keyType, now } = this.#tools;
    const had = this.#stored;
    const kept = await obtainCertificate({
      ...{ store, issuer, cas, hostname: this.name, keyType, signal, now },
      onStep: (step) => {
        this.#step = step;
      },
      isFresh: (stored) => (isForced ? stored.chainPem !== had?.chainPem : this.#isFresh(stored)),
    });
    this.#serve(kept);
    this.#tools.onChange();
    const expires = new Date(kept.notAfterMs).toISOString();
    const fields = { event: 'certificate_issued', hostname: this.name, ca: kept.ca, expires };
    // When the CA wants it replaced is asked at the next look: whoever waits for the certificate need not wait for that.
    this.#tools.log.info(fields, had === undefined ? 'certificate issued' : 'certificate renewed');
    this.#tools.onIssued?.({ hostname: this.name, issuer: kept.ca, notAfterMs: kept.notAfterMs });
  }

  /** Another process may have renewed it meanwhile. */
  #isFresh(stored: StoredCertificate): boolean {
    if (stored.chainPem === this.#unusable) return false;
    const nowMs = this.#tools.now();
    return stored.notAfterMs > nowMs && (stored.record.renewAtMs ?? renewalTime(stored, undefined, 0)) > nowMs;
  }

  /** What TLS cannot use (a torn intermediate, a signature that OpenSSL refuses by now) is as good as none. */
  #serveIfUsable(stored: StoredCertificate): void {
    try {
      this.#serve(stored);
    } catch (error) {
      const fields = { hostname: this.name, ca: stored.ca, reason: asTunnelError(error).message };
      this.#unusable = stored.chainPem;
      this.#tools.log.warn(fields, 'stored certificate cannot be used');
    }
  }

  #serve(stored: StoredCertificate): void {
    const { chainPem, keyPem } = stored;
    this.#context = serverContext(chainPem, keyPem.reveal());
    this.#stored = stored;
    const record = withoutFormerFailure(stored.record, this.#tools.cas);
    this.#record = { renewAtMs: renewalTime(stored, undefined, this.#tools.random()), ...record };
  }

  /** When the CA wants this certificate replaced (RFC 9773); a moment that was chosen holds until the CA says another. */
  async #askWindow(signal: AbortSignal): Promise<void> {
    const { issuer, now, random, log } = this.#tools;
    const stored = this.#stored;
    if (stored === undefined) return;
    try {
      const answer = await issuer.renewalWindow(stored.chainPem, signal);
      const window = answer && { startMs: answer.startMs, endMs: answer.endMs };
      const isNews = window?.startMs !== this.#record.window?.startMs || window?.endMs !== this.#record.window?.endMs;
      const renewAtMs = isNews ? renewalTime(stored, window, random()) : this.#record.renewAtMs;
      const askAgainAtMs = now() + (answer?.askAgainInMs ?? ASK_AGAIN_MS);
      this.#record = { ...this.#record, renewAtMs, askAgainAtMs, window };
    } catch (error) {
      if (signal.aborted) return;
      this.#record = { ...this.#record, askAgainAtMs: now() + ASK_AFTER_FAILURE_MS };
      log.info({ hostname: this.name, reason: asTunnelError(error).message }, 'CA cannot be asked when to renew');
    }
    await this.#keepRecord(signal);
  }

  async #fail(error: unknown, signal: AbortSignal): Promise<never> {
    const failure = asTunnelError(error);
    // A program that stops has not failed.
    if (signal.aborted) throw failure;
    const { now, random, log } = this.#tools;
    const failures = (this.#record.failures ?? 0) + 1;
    const retryAtMs = now() + retryDelay(failures, random(), failure.retryInMs);
    const askedCas = this.#tools.cas?.filter((ca) => ca !== IMPORTED_CA);
    this.#record = { ...this.#record, failures, lastError: failure.message, retryAtMs, askedCas };
    await this.#keepRecord(signal);
    const retryAt = new Date(retryAtMs).toISOString();
    const fields = { event: 'certificate_failed', hostname: this.name, code: failure.code, retryAt };
    log.warn({ ...fields, reason: failure.message }, 'certificate not issued');
    throw new IssueFailure(failure instanceof IssueFailure ? failure.reason : 'order', failure.message, {
      cause: failure,
      retryInMs: retryAtMs - now(),
    });
  }

  /** Whoever has just started the program waits for this name without knowing why. */
  #logPause(): void {
    const { now, log } = this.#tools;
    if (this.#retryAtMs <= now()) return;
    const retryAt = new Date(this.#retryAtMs).toISOString();
    const fields = { event: 'certificate_waiting', hostname: this.name, retryAt, reason: this.#record.lastError };
    log.warn(fields, 'certificate waits for its next attempt');
  }

  /** A lost record costs one more question to the CA, so a disk that refuses is only reported. */
  async #keepRecord(signal: AbortSignal): Promise<void> {
    const { store, log } = this.#tools;
    try {
      const lock = await store.lock(this.name, signal);
      try {
        if (this.#stored === undefined) store.saveAttempts(this.name, this.#record);
        else store.saveRecord(this.#stored.ca, this.name, this.#record);
      } finally {
        lock.release();
      }
    } catch (error) {
      if (!signal.aborted)
        log.warn({ hostname: this.name, reason: asTunnelError(error).message }, 'renewal time not kept');
    }
  }
}
