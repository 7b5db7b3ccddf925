/**
 * Run: takes the chosen figures one after the other. A figure that fails is reported with its reason, and the others are
 * taken all the same.
 */
import { asTunnelError } from '../shared/errors.js';
import type { Figure } from './figure.js';
import { interleave } from './interleave.js';
import type { FigureResult } from './result.js';
import { Stage, type StageOptions } from './stage.js';
import type { BenchWorld } from './world.js';

export interface RunOptions extends StageOptions {
  readonly figures: readonly Figure[];
  /** Gets a line for each measurement. */
  readonly progress: (line: string) => void;
}

/** A figure that could not be taken. */
export interface FailedFigure {
  readonly figure: Figure;
  readonly reason: string;
}

export interface RunResult {
  readonly figures: readonly FigureResult[];
  readonly failed: readonly FailedFigure[];
}

/** Takes all figures. Rejects only when the run was stopped. */
export async function run(world: BenchWorld, options: RunOptions): Promise<RunResult> {
  const stage = new Stage(world, options);
  const figures: FigureResult[] = [];
  const failed: FailedFigure[] = [];
  const { progress, size } = options;
  const { signal } = world.stop;
  for (const figure of options.figures) {
    try {
      const cast = await figure.enter(stage);
      figures.push(await interleave(figure, cast, { rounds: size.rounds, signal, progress }));
    } catch (error) {
      if (signal.aborted) throw error;
      failed.push({ figure, reason: asTunnelError(error).message });
      progress(`${figure.name}: ${asTunnelError(error).message}`);
    }
  }
  await stage.clear();
  return { figures, failed };
}
