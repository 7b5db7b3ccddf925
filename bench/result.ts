/**
 * Result: what came of a figure: every round of every contestant, its medians, and how it stands beside the reference.
 */
import type { Absent, Figure, Measure, Measurement } from './figure.js';
import { type Spread, spreadOf } from './spread.js';

/** What one contestant did in one round. */
export interface Sample extends Measurement {
  readonly round: number;
  /** What programs outside the bench took of the machine meanwhile, 0 to 1. */
  readonly others: number;
}

export interface ContestantResult {
  readonly name: string;
  readonly what: string;
  readonly values: Readonly<Record<string, Spread>>;
  /** Ratios or differences to the reference in the same round, by measure. */
  readonly beside: Readonly<Record<string, Spread>>;
  readonly parts: Readonly<Record<string, Spread>>;
  readonly rounds: readonly Sample[];
}

export interface FigureResult {
  readonly figure: Figure;
  /** Whom all others stand beside; not among the contestants when it failed. */
  readonly reference: string;
  readonly contestants: readonly ContestantResult[];
  readonly absent: readonly Absent[];
}

/** Sums up one contestant; `reference` are the rounds of the first one. */
export function summarise(
  { name, what }: { readonly name: string; readonly what: string },
  measures: readonly Measure[],
  rounds: readonly Sample[],
  reference: readonly Sample[],
): ContestantResult {
  const values = measures.map((measure) => [measure.name, spreadOf(valuesOf(rounds, measure.name))] as const);
  const beside = measures.flatMap((measure) => {
    const found = measure.beside ? besideOf(rounds, reference, measure.name, measure.beside) : [];
    return found.length === 0 ? [] : [[measure.name, spreadOf(found)] as const];
  });
  const parts = Object.keys(rounds[0]?.parts ?? {}).map((part) => {
    return [part, spreadOf(rounds.map((sample) => sample.parts?.[part] ?? 0))] as const;
  });
  return {
    ...{ name, what, rounds },
    values: Object.fromEntries(values),
    beside: Object.fromEntries(beside),
    parts: Object.fromEntries(parts),
  };
}

/** One measure of all rounds beside another contestant's, round by round. */
export function besideOf(
  rounds: readonly Sample[],
  others: readonly Sample[],
  measure: string,
  how: 'ratio' | 'difference',
): number[] {
  return rounds.flatMap((sample) => {
    const own = sample.values[measure];
    const other = others.find(({ round }) => round === sample.round)?.values[measure];
    if (own === undefined || other === undefined) return [];
    return how === 'ratio' ? own / other : own - other;
  });
}

function valuesOf(rounds: readonly Sample[], measure: string): number[] {
  return rounds.flatMap((sample) => sample.values[measure] ?? []);
}
