/**
 * Check: what both doctors are made of. A check is one small function that looks at one thing and says PASS, FAIL with
 * the cure, or SKIP with the reason why it could not look.
 *
 * Checks run one after another, because a later one builds on what an earlier one found; each has CHECK_MS, and one that
 * throws has failed. Owns nothing. Used by: the verbs `tunnel doctor` and `relay doctor`.
 */

import { padded } from '../command/terminal-text.js';
import { asTunnelError, type ErrorCode, exitOf } from '../errors.js';
import { printable } from '../printable.js';

export interface Finding {
  readonly state: 'PASS' | 'FAIL' | 'SKIP';
  /** What was found, one sentence. */
  readonly found: string;
  /** What to do; with PASS and SKIP a piece of advice. */
  readonly cure?: string;
  /** With FAIL: what it is in the error table. */
  readonly code?: ErrorCode;
}

/** Looks at one thing. Rejects, or throws, for a failure that it has no better words for. */
export interface Check {
  /** One or two words, unique among the checks of a doctor. */
  readonly name: string;
  run(signal: AbortSignal): Promise<Finding> | Finding;
}

/** A finding with its check and what it took. */
export interface CheckResult extends Finding {
  readonly check: string;
  readonly ms: number;
}

export interface Report {
  readonly ok: boolean;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly checks: readonly CheckResult[];
}

/** Longest time for one check; the parts of a check have shorter limits of their own. */
const CHECK_MS = 30_000;
/** Exit codes that tell a script what to mend; every other failure is "unreachable". */
const TELLING_EXITS: ReadonlySet<number> = new Set([76, 77, 78]);
const EXIT_FAILED = 69;

export function pass(found: string, advice?: string): Finding {
  return { state: 'PASS', found, ...(advice === undefined ? {} : { cure: advice }) };
}

export function fail(code: ErrorCode, found: string, cure: string): Finding {
  return { state: 'FAIL', found, cure, code };
}

export function skip(found: string, advice?: string): Finding {
  return { state: 'SKIP', found, ...(advice === undefined ? {} : { cure: advice }) };
}

/** Runs them in order; `onResult` hears of each as soon as it is known. Never rejects. */
export async function runChecks(
  checks: Iterable<Check>,
  onResult: (result: CheckResult) => void = () => {},
): Promise<Report> {
  const results: CheckResult[] = [];
  for (const check of checks) {
    const beganAtMs = performance.now();
    const finding = await findingOf(check);
    const result = { check: check.name, ...finding, ms: Math.round(performance.now() - beganAtMs) };
    results.push(result);
    onResult(result);
  }
  const count = (state: Finding['state']) => results.filter((result) => result.state === state).length;
  const failed = count('FAIL');
  return { ok: failed === 0, passed: count('PASS'), failed, skipped: count('SKIP'), checks: results };
}

/** One check as lines for a terminal. */
export function resultLines({ check, state, found, cure }: CheckResult): string[] {
  const indent = ' '.repeat(20);
  const [first = '', ...rest] = found.split('\n').map(printable);
  const lines = [`${state}  ${padded(check, 12)}  ${first}`, ...rest.map((line) => `${indent}${line}`)];
  return cure === undefined ? lines : [...lines, ...cure.split('\n').map((line) => `${indent}→ ${printable(line)}`)];
}

/** The last line: the counts, and what to mend first. */
export function summaryLine({ passed, failed, skipped, checks }: Report): string {
  const counts = `${passed} passed, ${failed} failed, ${skipped} skipped`;
  const first = checks.find(({ state }) => state === 'FAIL');
  return first === undefined ? `${counts}. All is well.` : `${counts}. Begin with: ${first.check}.`;
}

/** 0 when nothing failed; 76, 77 or 78 when the first failure is one of version, token or configuration; else 69. */
export function exitOfReport({ checks }: Report): number {
  const first = checks.find(({ state }) => state === 'FAIL');
  if (first === undefined) return 0;
  const exit = exitOf(first.code ?? 'INTERNAL');
  return TELLING_EXITS.has(exit) ? exit : EXIT_FAILED;
}

async function findingOf(check: Check): Promise<Finding> {
  const signal = AbortSignal.timeout(CHECK_MS);
  try {
    return await orAborted(signal, async () => check.run(signal));
  } catch (cause) {
    if (signal.aborted) {
      return fail('INTERNAL', `no answer in ${CHECK_MS / 1_000} s`, 'Run it again; look at what it waits for.');
    }
    const { code, message } = asTunnelError(cause);
    return fail(code, message, 'Correct that, then run it again.');
  }
}

/** What `act` gives; rejects with the signal's reason as soon as that aborts, for acts that cannot be stopped. */
export async function orAborted<T>(signal: AbortSignal, act: () => Promise<T>): Promise<T> {
  let stop: () => void = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
  });
  aborted.catch(() => {});
  try {
    return await Promise.race([act(), aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
