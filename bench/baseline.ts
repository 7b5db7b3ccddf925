/**
 * Baseline: the regression guard: what Sallyport cost when it was last agreed to, and what it costs now, as multiples of
 * what other programs cost in the same run, so that it holds on other machines.
 *
 * CPU time beside Node itself (subjects/node-limit.ts) decides: another processor or another Node makes both dearer. More
 * than 15 % of it lost, per request or per GiB, is a regression. Programs that share the machine make every request of a
 * tunnel dearer, so what is tolerated grows with what they used. All else is information.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { TunnelError } from '../shared/errors.js';
import type { MachineFacts } from './machine.js';
import { besideOf, type ContestantResult, type FigureResult } from './result.js';
import { spreadOf } from './spread.js';

const PRODUCT = 'sallyport';

/** Of the value agreed to, on a machine that the bench has to itself. */
const TOLERATED_LOSS = 0.15;

/** What other programs may use before more is tolerated. */
const QUIET_SHARE = 0.1;

/** What is compared, and by which measure beside whom. */
const WATCHED = [
  { name: 'cpuOfNode', measure: 'cpu', of: 'node', moreIs: 'worse', decides: true },
  { name: 'cpuOfLimit', measure: 'cpu', of: 'limit', moreIs: 'worse', decides: false },
  { name: 'rateOfLimit', measure: 'rate', of: 'limit', moreIs: 'better', decides: false },
] as const;

type Watched = (typeof WATCHED)[number]['name'];

export type Ratios = Readonly<Record<Watched, number>>;

export interface Baseline {
  /** When, where and with what it was measured. */
  readonly date: string;
  readonly machine: string;
  readonly node: string;
  /** By figure. */
  readonly figures: Readonly<Record<string, Ratios>>;
}

/** A figure of the run that is compared. */
export interface WatchedFigure {
  readonly ratios: Ratios;
  /** What programs outside the bench used of the machine meanwhile, 0 to 1. */
  readonly others: number;
}

export interface Comparison {
  readonly figure: string;
  readonly name: Watched;
  readonly was: number;
  readonly now: number;
  /** Positive is worse; 0.1 is a tenth. */
  readonly loss: number;
  /** Undefined for what decides nothing. */
  readonly tolerated: number | undefined;
}

export interface GuardResult {
  readonly baseline: Baseline;
  readonly comparisons: readonly Comparison[];
}

/** What is watched of a run, by figure; without the figures for which somebody was missing. */
export function watchedOf(figures: readonly FigureResult[]): ReadonlyMap<string, WatchedFigure> {
  const watched = new Map<string, WatchedFigure>();
  for (const { figure, contestants } of figures) {
    const ratios = WATCHED.map(({ name, measure, of }) => [name, ratioOf(contestants, measure, of)] as const);
    if (ratios.some(([, ratio]) => ratio === undefined)) continue;
    const shares = contestants.flatMap(({ rounds }) => rounds.map(({ others }) => others));
    watched.set(figure.name, { ratios: Object.fromEntries(ratios) as Ratios, others: spreadOf(shares).median });
  }
  return watched;
}

function ratioOf(contestants: readonly ContestantResult[], measure: string, of: string): number | undefined {
  const own = contestants.find(({ name }) => name === PRODUCT)?.rounds ?? [];
  const other = contestants.find(({ name }) => name === of)?.rounds ?? [];
  const ratios = besideOf(own, other, measure, 'ratio');
  return ratios.length === 0 ? undefined : spreadOf(ratios).median;
}

/** Compares the figures that both have. */
export function compare(baseline: Baseline, now: ReadonlyMap<string, WatchedFigure>): GuardResult {
  const comparisons = Object.entries(baseline.figures).flatMap(([figure, was]) => {
    const own = now.get(figure);
    if (own === undefined) return [];
    return WATCHED.map(({ name, moreIs, decides }): Comparison => {
      const change = own.ratios[name] / was[name] - 1;
      const loss = moreIs === 'worse' ? change : -change;
      const tolerated = decides ? toleratedLoss(own.others) : undefined;
      return { figure, name, was: was[name], now: own.ratios[name], loss, tolerated };
    });
  });
  return { baseline, comparisons };
}

function toleratedLoss(others: number): number {
  return TOLERATED_LOSS + Math.max(0, others - QUIET_SHARE);
}

/** Whether more was lost than is tolerated. */
export function isRegression({ loss, tolerated }: Comparison): boolean {
  return tolerated !== undefined && loss > tolerated;
}

/** One line for each regression; empty when there is none. */
export function regressions({ baseline, comparisons }: GuardResult): string[] {
  return comparisons.filter(isRegression).map(({ figure, was, now, loss }) => {
    const change = `${was.toFixed(2)} → ${now.toFixed(2)} × Node itself`;
    return `${figure}: ${(loss * 100).toFixed(0)} % more CPU time than on ${baseline.date} (${change})`;
  });
}

/** The baseline that a run makes. Rounded: more digits would be noise. */
export function baselineOf(machine: MachineFacts, watched: ReadonlyMap<string, WatchedFigure>): Baseline {
  const figures = [...watched].map(([figure, { ratios }]) => {
    const rounded = Object.entries(ratios).map(([name, ratio]) => [name, Number(ratio.toFixed(3))] as const);
    return [figure, Object.fromEntries(rounded) as Ratios] as const;
  });
  const { date = '', machine: where = '', node = '' } = machine;
  return { date, machine: where, node, figures: Object.fromEntries(figures) };
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
    const { date, machine, node, figures } = JSON.parse(text) as Baseline;
    const isWhole = [date, machine, node].every((fact) => typeof fact === 'string');
    const values = Object.values(figures).flatMap((ratios) => WATCHED.map(({ name }) => ratios[name]));
    if (isWhole && values.every((value) => value > 0)) return { date, machine, node, figures };
  } catch {
    // Told below, with the cure.
  }
  const cure = 'Make it anew: npm run bench -- --quick --update-baseline';
  throw new TunnelError('CONFIG_INVALID', `Cannot use baseline ${file}: it is damaged. ${cure}`);
}

export function writeBaseline(file: string, baseline: Baseline): void {
  writeFileSync(file, `${JSON.stringify(baseline, undefined, 2)}\n`);
}
