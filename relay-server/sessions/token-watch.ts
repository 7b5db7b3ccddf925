/**
 * TokenWatch: decides which tokens a running relay accepts right now.
 *
 * It polls, because that works on every disk. Files that come, go or are replaced change their folder, which is looked at
 * every `intervalMs`; every fourth look goes through all files, for those that somebody edits in place (100 tokens cost
 * 0.7 ms of CPU). It fails closed: a file that cannot be used any more is a
 * revoked token and one report. Only a shortage of the whole process (no file descriptors left) keeps the old view,
 * because that says nothing about any token; files that are gone are noticed even then.
 *
 * Owns: the records in memory, one timer. Owned by: the relay's sessions.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { asTunnelError, TunnelError } from '../../shared/errors.js';
import { isCode } from '../../shared/files/atomic-file.js';
import { isExpired, readTokenFile, type TokenRecord } from './token-record.js';

const SUFFIX = '.json';
const DEFAULT_INTERVAL_MS = 250;
const FULL_LOOK_EVERY = 4;

export interface TokenWatchOptions {
  /** How often to look at the folder; 250 when left out. */
  readonly intervalMs?: number;
  /** Called after a token came, changed, went or expired. */
  readonly onChange?: () => void;
  /** Called once for every file that cannot be used, when it becomes so. */
  readonly onProblem?: (problem: TunnelError) => void;
}

interface SeenFile {
  /** Changes whenever the file does; undefined to read it again at the next look. */
  readonly stamp: string | undefined;
  readonly record: TokenRecord | undefined;
}

export class TokenWatch {
  readonly #folder: string;
  readonly #onChange: () => void;
  readonly #onProblem: (problem: TunnelError) => void;
  #files = new Map<string, SeenFile>();
  #byId = new Map<string, TokenRecord>();
  #reported = new Set<string>();
  #problems: TunnelError[] = [];
  #lookedAtMs = Date.now();
  #looks = 0;
  #folderStamp: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  private constructor(folder: string, options: TokenWatchOptions) {
    this.#folder = folder;
    this.#onChange = options.onChange ?? (() => {});
    this.#onProblem = options.onProblem ?? (() => {});
  }

  /** One look, without a timer. @throws {TunnelError} CONFIG_INVALID for the first file that cannot be used. */
  static load(folder: string): TokenWatch {
    const watch = new TokenWatch(folder, {});
    watch.#look();
    const [problem] = watch.#problems;
    if (problem) throw problem;
    return watch;
  }

  /** One look, then one every `intervalMs`. @throws {TunnelError} as `load` does. */
  static start(folder: string, options: TokenWatchOptions): TokenWatch {
    const first = TokenWatch.load(folder);
    const watch = new TokenWatch(folder, options);
    watch.#files = first.#files;
    watch.#byId = first.#byId;
    watch.#timer = setInterval(() => watch.#onTick(), options.intervalMs ?? DEFAULT_INTERVAL_MS);
    return watch;
  }

  /** The token of this id, expired or not (`isExpired` tells); undefined when it is unknown or revoked. */
  get(tokenId: string): TokenRecord | undefined {
    return this.#byId.get(tokenId);
  }

  /**
   * The same for a client that has just come: its token may be younger than the last look. Strangers cause no more than
   * a glance at the folder; only one that has changed is read.
   */
  find(tokenId: string): TokenRecord | undefined {
    if (!this.#byId.has(tokenId) && stampOf(this.#folder) !== this.#folderStamp) this.#onTick();
    return this.#byId.get(tokenId);
  }

  /** Every usable token, by name. */
  all(): readonly TokenRecord[] {
    return [...this.#byId.values()];
  }

  /** Stops looking. Safe any number of times. */
  close(): void {
    clearInterval(this.#timer);
  }

  #onTick(): void {
    const changed = this.#isQuiet() ? false : this.#look();
    const expired = this.#expireSinceLastLook();
    for (const problem of this.#problems.splice(0)) this.#onProblem(problem);
    if (changed || expired) this.#onChange();
  }

  /** Whether this look may stop at the folder. */
  #isQuiet(): boolean {
    const stamp = stampOf(this.#folder);
    const isSame = stamp === this.#folderStamp;
    this.#folderStamp = stamp;
    this.#looks += 1;
    return isSame && this.#looks % FULL_LOOK_EVERY !== 0;
  }

  /** Brings the memory up to date with the folder; true when a record came, went or changed. */
  #look(): boolean {
    this.#problems = [];
    const stillWrong = new Set<string>();
    const report = (problem: TunnelError) => {
      stillWrong.add(problem.message);
      if (!this.#reported.has(problem.message)) this.#problems.push(problem);
    };
    const files = new Map<string, SeenFile>();
    for (const name of this.#names(report)) {
      const seen = this.#lookAt(name, report);
      if (seen) files.set(name, seen);
    }
    const byId = indexById(files, this.#folder, report);
    const changed = differ(byId, this.#byId);
    this.#files = files;
    this.#byId = byId;
    this.#reported = stillWrong;
    return changed;
  }

  #names(report: (problem: TunnelError) => void): readonly string[] {
    try {
      const names = fs.readdirSync(this.#folder).filter((name) => name.endsWith(SUFFIX) && !name.startsWith('.'));
      return names.map((name) => name.slice(0, -SUFFIX.length)).sort();
    } catch (error) {
      const state = error instanceof Error ? error.message : String(error);
      report(
        new TunnelError('CONFIG_INVALID', `Cannot read token folder ${this.#folder}: ${state}.`, { cause: error }),
      );
      return isShortage(error) ? [...this.#files.keys()] : [];
    }
  }

  #lookAt(name: string, report: (problem: TunnelError) => void): SeenFile | undefined {
    const file = path.join(this.#folder, name + SUFFIX);
    const stamp = stampOf(file);
    const seen = this.#files.get(name);
    if (stamp === undefined) return undefined;
    if (seen?.stamp === stamp) return seen;
    try {
      return { stamp, record: readTokenFile(file, name) };
    } catch (error) {
      const problem = asTunnelError(error, 'CONFIG_INVALID');
      if (isCode(problem.cause, 'ENOENT')) return undefined;
      report(problem);
      return { stamp: undefined, record: undefined };
    }
  }

  #expireSinceLastLook(): boolean {
    const nowMs = Date.now();
    const thenMs = this.#lookedAtMs;
    this.#lookedAtMs = nowMs;
    return this.all().some((record) => isExpired(record, nowMs) && !isExpired(record, thenMs));
  }
}

/** Identity, size and times of the file behind the name: a replaced or edited file always has another one. */
function stampOf(file: string): string | undefined {
  try {
    const state = fs.statSync(file, { bigint: true, throwIfNoEntry: false });
    return state && `${state.ino}:${state.size}:${state.mtimeNs}:${state.ctimeNs}`;
  } catch {
    // It is there but hidden from us: reading it will say why.
    return 'hidden';
  }
}

function indexById(
  files: ReadonlyMap<string, SeenFile>,
  folder: string,
  report: (problem: TunnelError) => void,
): Map<string, TokenRecord> {
  const byId = new Map<string, TokenRecord>();
  for (const { record } of files.values()) {
    if (!record) continue;
    const other = byId.get(record.id);
    if (!other) byId.set(record.id, record);
    else {
      const file = path.join(folder, record.name + SUFFIX);
      const message = `Cannot use token file ${file}: its id is that of token ${other.name}. Remove one of the two.`;
      report(new TunnelError('CONFIG_INVALID', message));
    }
  }
  return byId;
}

function differ(one: ReadonlyMap<string, TokenRecord>, other: ReadonlyMap<string, TokenRecord>): boolean {
  return one.size !== other.size || [...one].some(([id, record]) => other.get(id) !== record);
}

function isShortage(error: unknown): boolean {
  return ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN'].some((code) => isCode(error, code));
}
