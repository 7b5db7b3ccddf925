/**
 * AuditLog: what a running relay has to say for the record: who logged in, who was refused, what was changed. Whoever
 * reports never waits; records are written together, in the background, and flushed.
 *
 *   idle → writing → idle        a disk that refuses: writing → waiting (1 s) → writing
 *
 * A record is never lost without a trace: while the disk refuses they are kept, up to a limit, the log says so, and what had
 * to be dropped beyond that is counted in a record of its own once it can be written.
 * Owns: the records that are not on disk yet, one timer. Owned by: Relay.
 */
import { asTunnelError } from '../../../shared/errors.js';
import type { Log, LogFields } from '../../../shared/log.js';
import { type AuditPlace, appendAudit } from './audit-append.js';
import type { AuditEntry } from './audit-chain.js';
import type { AuditConfig } from './audit-config.js';
import { AuditRepeats } from './audit-repeats.js';

/** What the rooms of the relay know of it. */
export type Audit = (event: AuditEvent, fields: LogFields) => void;

/** Every event of the audit log, by whom it is written. */
export type AuditEvent =
  // the relay
  | 'relay-started'
  | 'relay-stopped'
  | 'token-used'
  | 'login-failed'
  | 'claim-denied'
  | 'config-reloaded'
  | 'config-refused'
  | 'certificate-issued'
  | 'records-lost'
  // verbs
  | 'token-created'
  | 'token-rotated'
  | 'token-revoked'
  | 'admin-token-created'
  | 'host-forgotten'
  | 'certificate-imported'
  | 'account-keys-replaced';

/** Records that may wait for the disk: minutes of the worst attack, and a few MiB. */
const MAX_WAITING = 10_000;
/** Records of one write. */
const MAX_BATCH = 256;
const RETRY_MS = 1_000;
const CLOSE_WAIT_MS = 3_000;

export interface AuditLogOptions extends AuditConfig {
  readonly log: Log;
  /** Puts records on disk; `appendAudit` when left out. */
  readonly append?: (place: AuditPlace, entries: readonly AuditEntry[]) => Promise<unknown>;
  /** Records that may wait for the disk; 10,000 when left out. */
  readonly maxWaiting?: number;
}

export class AuditLog {
  readonly #log: Log;
  readonly #append: (place: AuditPlace, entries: readonly AuditEntry[]) => Promise<unknown>;
  readonly #maxWaiting: number;
  readonly #repeats = new AuditRepeats();
  #config: AuditConfig;
  #waiting: AuditEntry[] = [];
  #lost = 0;
  #lostInAll = 0;
  #state: 'idle' | 'writing' | 'waiting' = 'idle';
  #problem: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #settled: (() => void)[] = [];

  constructor({ log, append = appendAudit, maxWaiting = MAX_WAITING, ...config }: AuditLogOptions) {
    this.#config = config;
    this.#log = log;
    this.#append = append;
    this.#maxWaiting = maxWaiting;
  }

  /** Records that could not be kept since the start. */
  get lost(): number {
    return this.#lostInAll;
  }

  /** Why nothing can be written at the moment; undefined when it can. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Other options count from the next write on. */
  configure(config: AuditConfig): void {
    this.#config = config;
  }

  /** Takes note; the record is on its way to the disk when this returns. */
  readonly record: Audit = (event, fields) => {
    if (!this.#config.enabled) return;
    const leftOut = this.#repeats.admit(event, fields);
    if (leftOut === undefined) return;
    const facts = { by: 'relay', ...fields, ...(leftOut === 0 ? {} : { leftOut }) };
    if (this.#config.toLog) this.#log.info({ ...facts, event }, 'audit');
    if (this.#waiting.length >= this.#maxWaiting) {
      this.#lost += 1;
      this.#lostInAll += 1;
      return;
    }
    this.#waiting.push({ timeMs: Date.now(), event, fields: facts });
    if (this.#state === 'idle') void this.#write();
  };

  /** Resolves when everything recorded so far is on disk, or after 3 s on a disk that refuses; then the log says so. */
  async close(): Promise<void> {
    if (this.#state === 'waiting') void this.#write();
    let giveUp: NodeJS.Timeout | undefined;
    const settled = this.#state === 'idle' ? undefined : new Promise<void>((resolve) => this.#settled.push(resolve));
    const late = new Promise<void>((resolve) => {
      giveUp = setTimeout(resolve, CLOSE_WAIT_MS);
    });
    if (settled !== undefined) await Promise.race([settled, late]);
    clearTimeout(giveUp);
    clearTimeout(this.#timer);
    const records = this.#waiting.length + this.#lost;
    if (records > 0) this.#log.error({ records, reason: this.#problem }, 'audit records lost: the disk refuses them');
    this.#waiting = [];
    this.#lost = 0;
  }

  async #write(): Promise<void> {
    clearTimeout(this.#timer);
    this.#state = 'writing';
    // What is recorded in one turn goes together.
    await undefined;
    while (this.#waiting.length > 0 || this.#lost > 0) {
      const batch = this.#waiting.slice(0, MAX_BATCH);
      const lost = batch.length === this.#waiting.length ? this.#lost : 0;
      try {
        await this.#append(this.#config, lost === 0 ? batch : [...batch, lostEntry(lost)]);
      } catch (error) {
        this.#onRefused(error);
        return;
      }
      this.#waiting.splice(0, batch.length);
      this.#lost -= lost;
      this.#onWritten();
    }
    this.#state = 'idle';
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  #onRefused(error: unknown): void {
    const { code, message } = asTunnelError(error);
    if (this.#problem === undefined) {
      this.#log.error({ code, reason: message, records: this.#waiting.length }, 'audit log cannot be written');
    }
    this.#problem = message;
    this.#state = 'waiting';
    this.#timer = setTimeout(() => void this.#write(), RETRY_MS);
  }

  #onWritten(): void {
    if (this.#problem === undefined) return;
    this.#problem = undefined;
    this.#log.info({ lost: this.#lostInAll }, 'audit log can be written again');
  }
}

function lostEntry(records: number): AuditEntry {
  return { timeMs: Date.now(), event: 'records-lost' satisfies AuditEvent, fields: { by: 'relay', records } };
}
