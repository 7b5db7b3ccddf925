/**
 * `npm run bench`: measures Sallyport beside its limit and its baseline, all on loopback, and reports.
 *
 * Owns: the world of the run. Ends it in every case: done, failed, Ctrl-C.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { newProgram, runProgram } from '../shared/command-line.js';
import { TunnelError } from '../shared/errors.js';
import { onStopSignal } from '../shared/stop-signal.js';
import { bulkDownload } from './bulk-download.js';
import { type Figure, type FigureResult, measureFigure } from './figure.js';
import { machineFacts } from './machine.js';
import { type Report, toJson, toMarkdown } from './report.js';
import { smallRequests } from './small-requests.js';
import { startHttpProxy } from './subjects/http-proxy.js';
import { startLimit } from './subjects/limit.js';
import { startSallyport } from './subjects/sallyport.js';
import type { Subject } from './subjects/subject.js';
import { BenchWorld } from './world.js';

const MIB = 1024 ** 2;
const REPORT_FOLDER = fileURLToPath(new URL('../../bench/report/', import.meta.url));

/** What a shell reports for a program that Ctrl-C ended. */
const EXIT_INTERRUPTED = 130;

const FULL = { rounds: 7, seconds: 5, bulkBytes: 1024 * MIB };
const QUICK = { rounds: 3, seconds: 2, bulkBytes: 256 * MIB };

const STARTERS: Readonly<Record<string, (world: BenchWorld) => Promise<Subject>>> = {
  limit: startLimit,
  sallyport: startSallyport,
  'http-proxy': startHttpProxy,
};

interface BenchFlags {
  readonly quick?: boolean;
  readonly rounds?: string;
  readonly only?: string;
  readonly subjects: string;
  readonly compare?: string;
  readonly cpuProf?: string;
  readonly out: string;
  readonly showConfigs?: boolean;
}

const program = newProgram('bench', 'Measures Sallyport beside nginx without a tunnel, on this machine.')
  .option('--quick', 'a first impression: fewer, shorter rounds')
  .option('--rounds <n>', 'rounds of each figure')
  .option('--only <figure>', 'small or bulk')
  .option('--subjects <names>', 'comma-separated; ratios are to the first one', Object.keys(STARTERS).join(','))
  .option('--compare <folder>', 'another build of Sallyport (a dist folder) as one more subject')
  .option('--cpu-prof <folder>', 'write a CPU profile of each Node process there')
  .option('--out <folder>', 'where report.md and report.json go', REPORT_FOLDER)
  .option('--show-configs', 'print the generated configuration of every subject')
  .action(runBench);
await runProgram(program);

async function runBench(flags: BenchFlags): Promise<void> {
  const size = { ...(flags.quick ? QUICK : FULL), ...(flags.rounds ? { rounds: positive(flags.rounds) } : {}) };
  const figures = chooseFigures(flags.only, size);
  const world = new BenchWorld({ bulkBytes: size.bulkBytes, profiles: flags.cpuProf });
  const stop = new AbortController();
  const end = () => {
    stop.abort();
    void world.programs.close();
  };
  const stopListening = onStopSignal({ drain: end, end });
  try {
    await measure(world, figures, size.rounds, flags);
  } catch (error) {
    // Whatever fails after a signal fails because of it.
    if (!stop.signal.aborted) throw error;
    process.exitCode = EXIT_INTERRUPTED;
  } finally {
    stopListening();
    await world.close();
  }
}

async function measure(
  world: BenchWorld,
  figures: readonly Figure[],
  rounds: number,
  flags: BenchFlags,
): Promise<void> {
  const machine = await machineFacts(world.tools);
  await world.open();
  const subjects = await startSubjects(world, flags);
  const results: FigureResult[] = [];
  for (const figure of figures) results.push(await measureFigure(world, figure, subjects, rounds, note));
  if (flags.showConfigs) for (const [name, text] of world.configs) console.log(`# ${name}\n${text}`);
  publish({ machine, rounds, figures: results }, flags.out);
}

function chooseFigures(only: string | undefined, size: typeof FULL): Figure[] {
  const all = [smallRequests(size.seconds), bulkDownload(size.bulkBytes)];
  const chosen = all.filter(({ name }) => only === undefined || name === only);
  if (chosen.length === 0) throw new TunnelError('USAGE_INVALID', `--only must be small or bulk, got ${only}`);
  return chosen;
}

async function startSubjects(world: BenchWorld, flags: BenchFlags): Promise<Subject[]> {
  const subjects: Subject[] = [];
  for (const name of flags.subjects.split(',')) {
    const start = STARTERS[name];
    if (start === undefined) {
      throw new TunnelError('USAGE_INVALID', `--subjects has ${name}; known are ${Object.keys(STARTERS).join(', ')}`);
    }
    subjects.push(await start(world));
  }
  if (flags.compare !== undefined) subjects.push(await startSallyport(world, 'other', flags.compare));
  return subjects;
}

function positive(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > 100) {
    throw new TunnelError('USAGE_INVALID', `--rounds must be a whole number from 1 to 100, got ${text}`);
  }
  return number;
}

function publish(report: Report, folder: string): void {
  const markdown = toMarkdown(report);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'report.md'), markdown);
  writeFileSync(join(folder, 'report.json'), toJson(report));
  console.log(markdown);
  note(`written to ${folder}`);
}

function note(line: string): void {
  process.stderr.write(`${line}\n`);
}
