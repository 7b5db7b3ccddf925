/**
 * Target: what a figure shall reach, and whether it did. Every target is the product's own; those that name another
 * contestant compare within a round, like everything in the bench.
 */
import type { Figure, Measure } from './figure.js';
import { besideOf, type ContestantResult, type FigureResult } from './result.js';
import { spreadOf } from './spread.js';

const PRODUCT = 'sallyport';

export interface Target {
  readonly measure: string;
  readonly is: 'at least' | 'at most';
  readonly value: number;
  /** The value counts as a multiple of this contestant's. */
  readonly of?: string;
  /** The value counts as what it is above this contestant's. */
  readonly over?: string;
  /** Whose target it is; the product's when left out. */
  readonly subject?: string;
}

export interface Verdict {
  readonly figure: string;
  readonly target: string;
  /** The median that counts; undefined when somebody was missing. */
  readonly measured: number | undefined;
  readonly verdict: 'reached' | 'missed' | 'not measured';
}

/** Judges every target of a figure. */
export function judge(result: FigureResult): Verdict[] {
  const { figure } = result;
  return figure.targets.map((target) => {
    const measured = measuredFor(target, result.contestants);
    const verdict = measured === undefined ? 'not measured' : reaches(target, measured) ? 'reached' : 'missed';
    return { figure: figure.name, target: describeTarget(figure, target), measured, verdict };
  });
}

/** The verdicts of a figure that nobody was measured for. */
export function unjudged(figure: Figure): Verdict[] {
  return figure.targets.map((target) => {
    return {
      figure: figure.name,
      target: describeTarget(figure, target),
      measured: undefined,
      verdict: 'not measured',
    };
  });
}

/** `requests/s at least 0.80 × limit`. */
export function describeTarget(figure: Figure, target: Target): string {
  const measure: Measure | undefined = figure.measures.find(({ name }) => name === target.measure);
  const whose = target.subject === undefined ? '' : ` with ${target.subject}`;
  const beside = target.of !== undefined ? ` × ${target.of}` : target.over !== undefined ? ` over ${target.over}` : '';
  return `${measure?.title ?? target.measure}${whose} ${target.is} ${target.value}${beside}`;
}

function measuredFor(target: Target, contestants: readonly ContestantResult[]): number | undefined {
  const find = (name: string) => contestants.find((contestant) => contestant.name === name);
  const own = find(target.subject ?? PRODUCT);
  if (own === undefined) return undefined;
  const other = target.of ?? target.over;
  if (other === undefined) return own.values[target.measure]?.median;
  const reference = find(other);
  if (reference === undefined) return undefined;
  const beside = besideOf(own.rounds, reference.rounds, target.measure, target.of ? 'ratio' : 'difference');
  return beside.length === 0 ? undefined : spreadOf(beside).median;
}

function reaches(target: Target, measured: number): boolean {
  return target.is === 'at least' ? measured >= target.value : measured <= target.value;
}
