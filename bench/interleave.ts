/**
 * Interleave: takes a figure in rounds over all contestants (A B C A B C …), so that whatever else the machine does meets
 * all of them, and ratios within a round compare what happened side by side. A contestant that fails is out, with the
 * reason; the others go on.
 */
import { asTunnelError } from '../shared/errors.js';
import { watchOthers } from './cpu-time.js';
import type { Absent, Cast, Contestant, Figure, Measurement } from './figure.js';
import { type FigureResult, type Sample, summarise } from './result.js';

export interface InterleaveOptions {
  readonly rounds: number;
  readonly signal: AbortSignal;
  /** Gets a line for each measurement. */
  readonly progress: (line: string) => void;
}

/** Measures every contestant `rounds` times. Rejects only when the run was stopped. */
export async function interleave(figure: Figure, cast: Cast, options: InterleaveOptions): Promise<FigureResult> {
  const { rounds, signal, progress } = options;
  const samples = new Map<Contestant, Sample[]>(cast.contestants.map((contestant) => [contestant, []]));
  const absent: Absent[] = [...cast.absent];
  const attempt = async (contestant: Contestant, act: () => Promise<unknown>) => {
    try {
      await act();
    } catch (error) {
      if (signal.aborted) throw error;
      const reason = `failed: ${asTunnelError(error).message}`;
      progress(`${figure.name} ${contestant.name} ${reason}`);
      absent.push({ name: contestant.name, reason: reason.split('\n', 1)[0] ?? reason });
      samples.delete(contestant);
    }
  };
  for (const contestant of cast.contestants) await attempt(contestant, async () => contestant.warmUp?.());
  for (let round = 1; round <= rounds; round += 1) {
    for (const [contestant, taken] of samples) {
      await attempt(contestant, async () => {
        const others = watchOthers();
        taken.push({ ...(await contestant.measure()), round, others: others() });
        progress(`${figure.name} ${round}/${rounds} ${contestant.name}: ${describe(figure, taken.at(-1))}`);
      });
    }
  }
  const [reference] = cast.contestants;
  const referenceRounds = (reference && samples.get(reference)) ?? [];
  const contestants = [...samples].map(([contestant, taken]) => {
    return summarise(contestant, figure.measures, taken, referenceRounds);
  });
  return { figure, reference: reference?.name ?? 'nobody', contestants, absent };
}

function describe(figure: Figure, measurement: Measurement | undefined): string {
  const texts = figure.measures.flatMap(({ name, title, digits }) => {
    const value = measurement?.values[name];
    return value === undefined ? [] : `${value.toFixed(digits)} ${title}`;
  });
  return texts.join(', ');
}
