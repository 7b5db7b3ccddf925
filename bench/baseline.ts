/**
 * Baseline: the regression guard: what Sallyport cost beside the limit when it was last agreed to, and what it costs now.
 * As a multiple of the limit in the same run, so that it holds on other machines. Losing more than 15 % of CPU time per
 * request or per GiB is a regression; rates are information, because they depend on who else uses the machine.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { TunnelError } from '../shared/errors.js';
import type { MachineFacts } from './machine.js';
import type { FigureResult } from './result.js';

const PRODUCT = 'sallyport';
const REFERENCE = 'limit';

/** Of the value agreed to. */
const TOLERATED_LOSS = 0.15;

/** Which measures are compared, and whether more of them is worse. */
const MEASURES = [
  { name: 'cpu', moreIs: 'worse' },
  { name: 'rate', moreIs: 'better' },
] as const;

type MeasureName = (typeof MEASURES)[number]['name'];

/** Multiples of the limit, by figure. */
export type Ratios = Readonly<Record<string, Readonly<Record<MeasureName, number>>>>;

export interface Baseline {
  /** When, where and with what it was measured. */
  readonly date: string;
  readonly machine: string;
  readonly node: string;
  readonly ratios: Ratios;
}

export interface Comparison {
  readonly figure: string;
  readonly measure: MeasureName;
  readonly was: number;
  readonly now: number;
  /** Positive is worse; 0.1 is a tenth. */
  readonly loss: number;
  readonly verdict: 'held' | 'lost' | 'information';
}

export interface GuardResult {
  readonly baseline: Baseline;
  readonly comparisons: readonly Comparison[];
}

/** The ratios of a run; without the figures that had not both of them. */
export function ratiosOf(figures: readonly FigureResult[]): Ratios {
  const entries = figures.flatMap(({ figure, reference, contestants }) => {
    const own = contestants.find(({ name }) => name === PRODUCT)?.beside;
    if (reference !== REFERENCE || own?.cpu === undefined || own.rate === undefined) return [];
    return [[figure.name, { cpu: own.cpu.median, rate: own.rate.median }] as const];
  });
  return Object.fromEntries(entries);
}

/** Compares the figures that both have. */
export function compare(baseline: Baseline, now: Ratios): GuardResult {
  const comparisons = Object.entries(baseline.ratios).flatMap(([figure, was]) => {
    const own = now[figure];
    if (own === undefined) return [];
    return MEASURES.map(({ name, moreIs }): Comparison => {
      const change = own[name] / was[name] - 1;
      const loss = moreIs === 'worse' ? change : -change;
      const verdict = moreIs === 'better' ? 'information' : loss > TOLERATED_LOSS ? 'lost' : 'held';
      return { figure, measure: name, was: was[name], now: own[name], loss, verdict };
    });
  });
  return { baseline, comparisons };
}

/** One line for each regression; empty when all held. */
export function regressions({ baseline, comparisons }: GuardResult): string[] {
  const lost = comparisons.filter(({ verdict }) => verdict === 'lost');
  return lost.map(({ figure, was, now, loss }) => {
    const change = `${was.toFixed(2)} → ${now.toFixed(2)} × ${REFERENCE}`;
    return `${figure}: ${(loss * 100).toFixed(0)} % more CPU time than on ${baseline.date} (${change})`;
  });
}

/** The baseline that a run makes. Rounded: more digits would be noise. */
export function baselineOf(machine: MachineFacts, ratios: Ratios): Baseline {
  const rounded = Object.entries(ratios).map(([figure, { cpu, rate }]) => {
    return [figure, { cpu: Number(cpu.toFixed(3)), rate: Number(rate.toFixed(3)) }] as const;
  });
  const { date = '', machine: where = '', node = '' } = machine;
  return { date, machine: where, node, ratios: Object.fromEntries(rounded) };
}

/** Reads the committed baseline; undefined when there is none. Throws CONFIG_INVALID when it is damaged. */
export function readBaseline(file: string): Baseline | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  return parseBaseline(text, file);
}

/** The baseline in the text of its file. Throws CONFIG_INVALID when it is none. */
export function parseBaseline(text: string, file: string): Baseline {
  try {
    const { date, machine, node, ratios } = JSON.parse(text) as Baseline;
    const isWhole = [date, machine, node].every((fact) => typeof fact === 'string');
    const values = Object.values(ratios).flatMap((figure) => MEASURES.map(({ name }) => figure[name]));
    if (isWhole && values.every((value) => value > 0)) return { date, machine, node, ratios };
  } catch {
    // Told below, with the cure.
  }
  const cure = 'Make it anew: npm run bench -- --quick --update-baseline';
  throw new TunnelError('CONFIG_INVALID', `Cannot use baseline ${file}: it is damaged. ${cure}`);
}

export function writeBaseline(file: string, baseline: Baseline): void {
  writeFileSync(file, `${JSON.stringify(baseline, undefined, 2)}\n`);
}
