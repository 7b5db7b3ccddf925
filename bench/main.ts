/**
 * `npm run bench`: measures Sallyport beside its limit, its baseline and its peers, all on loopback, and reports.
 *
 * Owns: the world of the run. Ends it in every case: done, failed, Ctrl-C.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { newProgram, runProgram } from '../shared/command/command-line.js';
import { TunnelError } from '../shared/errors.js';
import { onStopSignal } from '../shared/stop-signal.js';
import {
  baselineOf,
  compare,
  type GuardResult,
  readBaseline,
  regressions,
  watchedOf,
  writeBaseline,
} from './baseline.js';
import type { Figure } from './figure.js';
import { chooseFigures, FIGURE_NAMES } from './figures/figures.js';
import { type MachineFacts, machineFacts } from './machine.js';
import { configsToMarkdown, type Report, toJson, toMarkdown } from './report.js';
import { type RunResult, run } from './run.js';
import { type BenchSize, sizeOf } from './size.js';
import type { SubjectKind } from './subjects/subject.js';
import { chooseSubjects, SUBJECT_NAMES } from './subjects/subject-kinds.js';
import { BenchWorld } from './world.js';

const FOLDER = fileURLToPath(new URL('../../bench/', import.meta.url));
const REPORT_FOLDER = join(FOLDER, 'report');
const BASELINE_FILE = join(FOLDER, 'baseline.json');

/** What a shell reports for a program that Ctrl-C ended. */
const EXIT_INTERRUPTED = 130;

/** Something was lost against the baseline, or a figure could not be taken. */
const EXIT_FAILED = 1;

interface BenchFlags {
  readonly quick?: boolean;
  readonly rounds?: string;
  readonly only?: string;
  readonly subjects?: string;
  readonly compare?: string;
  readonly cpuProf?: string;
  readonly out: string;
  readonly showConfigs?: boolean;
  readonly updateBaseline?: boolean;
}

// Whoever reads may stop reading; the run still ends what it started.
for (const output of [process.stdout, process.stderr]) output.on('error', () => {});

const program = newProgram('bench', 'Measures Sallyport beside nginx without a tunnel and beside its peers, here.')
  .option('--quick', 'small, download and upload in shorter rounds, compared with bench/baseline.json')
  .option('--only <figures>', `comma-separated: ${FIGURE_NAMES.join(', ')}`)
  .option('--subjects <names>', `comma-separated, ratios are to the first: ${SUBJECT_NAMES.join(', ')}`)
  .option('--rounds <n>', 'rounds of each figure (5)')
  .option('--compare <folder>', 'another build of Sallyport (a dist folder) as one more subject')
  .option('--cpu-prof <folder>', 'write a CPU profile of each Node process there')
  .option('--out <folder>', 'where report.md and report.json go', REPORT_FOLDER)
  .option('--show-configs', 'print the generated configuration of every subject with the report')
  .option('--update-baseline', 'with --quick: make this run the baseline')
  .action(runBench);
await runProgram(program);

/** What a run takes, after the flags were understood. */
interface Plan {
  readonly size: BenchSize;
  readonly figures: readonly Figure[];
  readonly kinds: readonly SubjectKind[];
}

async function runBench(flags: BenchFlags): Promise<void> {
  const plan = planOf(flags);
  const world = new BenchWorld({ bulkBytes: plan.size.bulkBytes, profiles: flags.cpuProf });
  const end = () => void world.close();
  const stopListening = onStopSignal({ drain: end, end });
  try {
    await measure(world, plan, flags);
  } catch (error) {
    // Whatever fails after a signal fails because of it.
    if (!world.stop.signal.aborted) throw error;
    process.exitCode = EXIT_INTERRUPTED;
  } finally {
    stopListening();
    await world.close();
  }
}

function planOf({ quick = false, ...flags }: BenchFlags): Plan {
  if (flags.updateBaseline && !quick) {
    throw new TunnelError('USAGE_INVALID', '--update-baseline needs --quick: that is what is compared');
  }
  return {
    size: sizeOf(quick, flags.rounds),
    figures: chooseFigures(flags.only, quick),
    kinds: chooseSubjects({ names: flags.subjects, quick, compare: flags.compare }),
  };
}

async function measure(world: BenchWorld, plan: Plan, flags: BenchFlags): Promise<void> {
  const machine = await machineFacts(world.tools);
  await world.open();
  const result = await run(world, { ...plan, progress: note });
  const guard = plan.size.quick ? guardOver(result, machine, flags.updateBaseline === true) : undefined;
  publish({ ...result, machine, size: plan.size, guard, configs: world.configs }, flags);
}

/** Compares with the baseline, or replaces it. */
function guardOver(result: RunResult, machine: MachineFacts, isNew: boolean): GuardResult | undefined {
  const watched = watchedOf(result.figures);
  if (isNew) {
    writeBaseline(BASELINE_FILE, baselineOf(machine, watched));
    note(`${BASELINE_FILE} holds this run now`);
    return undefined;
  }
  const baseline = readBaseline(BASELINE_FILE);
  return baseline === undefined ? undefined : compare(baseline, watched);
}

function publish(report: Report, flags: BenchFlags): void {
  const configs = flags.showConfigs ? `\n${configsToMarkdown(report.configs)}` : '';
  const markdown = `${toMarkdown(report)}${configs}`;
  mkdirSync(flags.out, { recursive: true });
  writeFileSync(join(flags.out, 'report.md'), markdown);
  writeFileSync(join(flags.out, 'report.json'), toJson(report));
  console.log(markdown);
  note(`written to ${flags.out}`);
  const lost = report.guard === undefined ? [] : regressions(report.guard);
  for (const line of lost) note(`regression: ${line}`);
  if (lost.length > 0 || report.failed.length > 0) process.exitCode = EXIT_FAILED;
}

function note(line: string): void {
  process.stderr.write(`${line}\n`);
}
