/**
 * Figure: one question that the bench answers, and how: rounds over all subjects in turn (A B C A B C …), so that
 * whatever else the machine does meets all of them, and ratios within a round, so that a slow round is slow for both.
 */
import { watchOthers } from './cpu-time.js';
import type { CpuByPart, Subject } from './subjects/subject.js';
import type { BenchWorld } from './world.js';

/** What one subject did in one round. */
export interface Sample extends Measurement {
  /** What programs outside the bench took of the machine meanwhile, 0 to 1. */
  readonly others: number;
}

export interface Measurement {
  /** Work per second. */
  readonly rate: number;
  /** CPU time per unit of work, by part and in total. */
  readonly cpu: CpuByPart;
}

export interface Figure {
  /** `small`, `bulk`: for `--only` and the report's file. */
  readonly name: string;
  readonly title: string;
  readonly rateUnit: string;
  readonly rateDigits: number;
  readonly cpuUnit: string;
  readonly cpuDigits: number;
  /** Brings the subject to speed; nothing is counted. */
  warmUp(world: BenchWorld, subject: Subject): Promise<unknown>;
  measure(world: BenchWorld, subject: Subject): Promise<Measurement>;
}

/** A median of rounds with the least and the greatest of them. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface SubjectResult {
  readonly subject: string;
  readonly what: string;
  readonly rate: Spread;
  readonly cpu: Readonly<Record<string, Spread>>;
  /** Of the first subject in the same round. */
  readonly rateRatio: Spread;
  readonly cpuRatio: Spread;
  readonly rounds: readonly Sample[];
}

export interface FigureResult {
  readonly figure: Figure;
  readonly subjects: readonly SubjectResult[];
}

/** Measures every subject `rounds` times. `progress` gets a line for each measurement. */
export async function measureFigure(
  world: BenchWorld,
  figure: Figure,
  subjects: readonly Subject[],
  rounds: number,
  progress: (line: string) => void,
): Promise<FigureResult> {
  const samples = new Map<Subject, Sample[]>(subjects.map((subject) => [subject, []]));
  for (const subject of subjects) await figure.warmUp(world, subject);
  for (let round = 1; round <= rounds; round += 1) {
    for (const [subject, taken] of samples) {
      const others = watchOthers();
      const sample = { ...(await figure.measure(world, subject)), others: others() };
      taken.push(sample);
      progress(`${figure.name} ${round}/${rounds} ${subject.name}: ${describe(figure, sample)}`);
    }
  }
  const [reference = []] = samples.values();
  return { figure, subjects: [...samples].map(([subject, taken]) => resultOf(subject, taken, reference)) };
}

function resultOf(subject: Subject, rounds: readonly Sample[], reference: readonly Sample[]): SubjectResult {
  const parts = Object.keys(rounds[0]?.cpu ?? {});
  const ratios = (of: (sample: Sample) => number) =>
    spreadOf(rounds.flatMap((sample, index) => (reference[index] ? of(sample) / of(reference[index]) : [])));
  return {
    subject: subject.name,
    what: subject.what,
    rate: spreadOf(rounds.map((sample) => sample.rate)),
    cpu: Object.fromEntries(parts.map((part) => [part, spreadOf(rounds.map((sample) => sample.cpu[part] ?? 0))])),
    rateRatio: ratios((sample) => sample.rate),
    cpuRatio: ratios((sample) => sample.cpu.total ?? 0),
    rounds,
  };
}

/** Of at least one value. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.slice((sorted.length - 1) >> 1, (sorted.length >> 1) + 1);
  const median = middle.reduce((sum, value) => sum + value, 0) / middle.length;
  return { median, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN };
}

function describe(figure: Figure, sample: Sample): string {
  const cpu = (sample.cpu.total ?? 0).toFixed(figure.cpuDigits);
  const others = `${(sample.others * 100).toFixed(0)} % of the machine used by others`;
  return `${sample.rate.toFixed(figure.rateDigits)} ${figure.rateUnit}, ${cpu} ${figure.cpuUnit}, ${others}`;
}
