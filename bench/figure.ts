/**
 * Figure: one question that the bench answers: what is measured, in which unit, and what is aimed at. How a figure is
 * taken is interleave.ts; how it is judged, target.ts.
 */
import type { Stage } from './stage.js';
import type { Target } from './target.js';

export interface Figure {
  /** Short: for `--only`, the baseline and the report. */
  readonly name: string;
  readonly title: string;
  /** The columns of the table, the most important first. */
  readonly measures: readonly Measure[];
  readonly targets: readonly Target[];
  /** The measure that is also told by program; `cpu` when left out. */
  readonly partsOf?: string;
  /** Starts everybody who is measured; whoever cannot take part is named with the reason. */
  enter(stage: Stage): Promise<Cast>;
}

export interface Measure {
  /** Of the value in a Measurement. */
  readonly name: string;
  /** With its unit: `requests/s`. */
  readonly title: string;
  readonly digits: number;
  /** How it stands beside the reference of the same round; left out: not at all. */
  readonly beside?: 'ratio' | 'difference';
}

/** What one contestant did in one round, by the names of the figure's measures. */
export interface Measurement {
  readonly values: Readonly<Record<string, number>>;
  /** The figure's `partsOf` by program. */
  readonly parts?: Readonly<Record<string, number>>;
}

/** One who is measured: mostly a subject under the figure's load. */
export interface Contestant {
  readonly name: string;
  /** What runs, in a few words. */
  readonly what: string;
  /** Brings it to speed; nothing is counted. */
  warmUp?(): Promise<unknown>;
  measure(): Promise<Measurement>;
}

/** Those who take part, the reference first, and those who do not. */
export interface Cast {
  readonly contestants: readonly Contestant[];
  readonly absent: readonly Absent[];
}

export interface Absent {
  readonly name: string;
  readonly reason: string;
}

/** A request's CPU time, as every figure of small requests shows it. */
export const CPU_PER_REQUEST: Measure = { name: 'cpu', title: 'CPU µs/request', digits: 1, beside: 'ratio' };
