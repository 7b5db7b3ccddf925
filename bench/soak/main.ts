/**
 * `npm run soak -- --minutes N [--seed S]`: runs a real relay and client under mixed traffic and faults, and ends with a
 * verdict: every byte right, every request answered, every failure explained by a fault, memory level, descriptors back.
 * Exit code 0 when all of it holds, 1 when not. Linux only: it reads /proc.
 */

import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { letFaultsHappen } from './faults.js';
import { Ledger } from './ledger.js';
import { type Growth, ProcessWatch } from './process-watch.js';
import { Random } from './random.js';
import { Traffic } from './traffic.js';
import { type ProgramName, SoakWorld } from './world.js';

const DEFAULT_MINUTES = '3';
const QUIET_START_MS = 15_000;
const QUIET_END_MS = 10_000;
/** Node's heap breathes by this much; a leak passes it in any soak that is long enough. */
const MAX_GROWN_BYTES = 48 * 1_024 * 1_024;
/** Idle links, a log and the like may come and go. */
const MAX_MORE_DESCRIPTORS = 6;
const DESCRIPTORS_BACK_MS = 75_000;
const LOOK_MS = 500;
const SHOWN_FAILURES = 20;

interface Soak {
  readonly ledger: Ledger;
  readonly growths: readonly Growth[];
  readonly unrecovered: readonly string[];
  readonly descriptors: readonly { readonly name: ProgramName; readonly before: number; readonly after: number }[];
}

const { values } = parseArgs({ options: { minutes: { type: 'string' }, seed: { type: 'string' } } });
const minutes = Number(values.minutes ?? DEFAULT_MINUTES);
const seed = Number(values.seed ?? Date.now() % 1_000_000);
if (!(minutes >= 1 && minutes <= 100_000) || !Number.isSafeInteger(seed)) {
  process.stderr.write('usage: npm run soak -- [--minutes N, at least 1] [--seed WHOLE-NUMBER]\n');
  process.exit(64);
}
say(`soak of ${minutes} minutes; the same faults again: --minutes ${minutes} --seed ${seed}`);
const problems = verdict(await run());
for (const problem of problems) say(`FAIL ${problem}`);
say(problems.length === 0 ? 'verdict: PASS' : `verdict: FAIL (${problems.length})`);
process.exit(problems.length === 0 ? 0 : 1);

async function run(): Promise<Soak> {
  const endAtMs = performance.now() + minutes * 60_000;
  const world = await SoakWorld.start();
  const watch = new ProcessWatch(world);
  const stop = (): void => void world.close().then(() => process.exit(130));
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  try {
    const before = watch.descriptors();
    const ledger = new Ledger();
    const traffic = new Traffic(world, ledger, new Random(seed + 1));
    traffic.start();
    await pause(QUIET_START_MS);
    const options = { world, traffic, ledger, random: new Random(seed), say };
    const unrecovered = await letFaultsHappen(options, endAtMs - QUIET_END_MS);
    await pause(Math.max(0, endAtMs - performance.now()));
    say('visitors leave');
    await traffic.close();
    say('visitors have left');
    const growths = watch.growths();
    const after = await descriptorsAtRest(watch, before);
    const descriptors = [...before].map(([name, count]) => ({ name, before: count, after: after.get(name) ?? 0 }));
    return { ledger, growths, unrecovered, descriptors };
  } finally {
    watch.close();
    await world.close();
  }
}

/** What is open once visitors have gone; connections that were cut without a word take their time. */
async function descriptorsAtRest(watch: ProcessWatch, before: ReadonlyMap<ProgramName, number>) {
  const untilMs = performance.now() + DESCRIPTORS_BACK_MS;
  for (;;) {
    const now = watch.descriptors();
    const isBack = [...before].every(([name, count]) => (now.get(name) ?? 0) <= count + MAX_MORE_DESCRIPTORS);
    if (isBack || performance.now() > untilMs) return now;
    await pause(LOOK_MS);
  }
}

/** Says what was measured, and returns what must not be. */
function verdict({ ledger, growths, unrecovered, descriptors }: Soak): string[] {
  const kinds = [...ledger.goodByKind].map(([kind, count]) => `${count} ${kind}`).join(', ');
  say(`requests: ${ledger.good} good (${kinds}), ${ledger.failed} failed`);
  const problems = [...unrecovered];
  const { unexplained } = ledger;
  if (ledger.good === 0) problems.push('no request was good');
  if (ledger.wrong > 0) problems.push(`${ledger.wrong} answers had wrong or lost bytes`);
  if (ledger.unanswered > 0) problems.push(`${ledger.unanswered} requests were never answered`);
  if (unexplained.length > 0) problems.push(`${unexplained.length} failures that no fault explains`);
  problems.push(...unexplained.slice(0, SHOWN_FAILURES));
  for (const growth of growths) {
    say(`memory of ${growth.name}: ${memoryOf(growth)}`);
    if (growth.grownBytes > MAX_GROWN_BYTES) problems.push(`${growth.name} grows: ${memoryOf(growth)}`);
  }
  for (const { name, before, after } of descriptors) {
    say(`descriptors of ${name}: ${before} before, ${after} after`);
    if (after > before + MAX_MORE_DESCRIPTORS)
      problems.push(`${name} keeps descriptors: ${before} before, ${after} after`);
  }
  return problems;
}

function memoryOf({ minutes: span, bytesPerMinute, grownBytes, highestBytes }: Growth): string {
  const slope = `${mib(bytesPerMinute)} MiB/min over ${span.toFixed(1)} min (${mib(grownBytes)} MiB in all)`;
  return `${slope}, at most ${mib(highestBytes)} MiB`;
}

function mib(bytes: number): string {
  return (bytes / 1_048_576).toFixed(1);
}

function say(line: string): void {
  process.stdout.write(`${(performance.now() / 1_000).toFixed(0).padStart(5)} s  ${line}\n`);
}
