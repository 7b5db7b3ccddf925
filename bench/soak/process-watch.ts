/**
 * ProcessWatch: memory and open descriptors of the programs of a soak over time, as Linux tells them in /proc, and what they
 * say about a leak. A program that is started again begins a new life.
 *
 * Owns: one timer. Owned by: main.ts.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { ProgramName, SoakWorld } from './world.js';

interface Sample {
  readonly atMs: number;
  readonly rssBytes: number;
}

/** One life of one program, after its warm-up. */
export interface Growth {
  readonly name: ProgramName;
  readonly minutes: number;
  readonly bytesPerMinute: number;
  /** What the fitted line rises by. */
  readonly grownBytes: number;
  readonly highestBytes: number;
}

const EVERY_MS = 2_000;
const WARM_UP_MS = 30_000;
const LEAST_SAMPLES = 10;
const NAMES = ['relay', 'tunnel'] as const;

export class ProcessWatch {
  readonly #world: SoakWorld;
  readonly #lives = new Map<string, { readonly name: ProgramName; readonly samples: Sample[] }>();
  readonly #timer: NodeJS.Timeout;

  constructor(world: SoakWorld) {
    this.#world = world;
    this.#timer = setInterval(() => this.#look(), EVERY_MS);
  }

  /** Descriptors that each program has open now. */
  descriptors(): ReadonlyMap<ProgramName, number> {
    return new Map(NAMES.map((name) => [name, descriptorsOf(this.#world.pidOf(name))]));
  }

  /** Lives that were long enough to say something. */
  growths(): Growth[] {
    return [...this.#lives.values()].flatMap(({ name, samples }) => {
      const beganAtMs = samples[0]?.atMs ?? 0;
      const warm = samples.filter(({ atMs }) => atMs - beganAtMs >= WARM_UP_MS);
      return warm.length < LEAST_SAMPLES ? [] : [{ name, ...fit(warm) }];
    });
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const name of NAMES) {
      const pid = this.#world.pidOf(name);
      const rssBytes = pid === undefined ? undefined : rssOf(pid);
      if (rssBytes === undefined) continue;
      const life = this.#lives.get(`${name} ${pid}`) ?? { name, samples: [] };
      this.#lives.set(`${name} ${pid}`, life);
      life.samples.push({ atMs: performance.now(), rssBytes });
    }
  }
}

/** Least squares. */
export function fit(samples: readonly Sample[]): Omit<Growth, 'name'> {
  const meanAt = mean(samples.map(({ atMs }) => atMs));
  const meanRss = mean(samples.map(({ rssBytes }) => rssBytes));
  const above = samples.reduce((sum, { atMs, rssBytes }) => sum + (atMs - meanAt) * (rssBytes - meanRss), 0);
  const below = samples.reduce((sum, { atMs }) => sum + (atMs - meanAt) ** 2, 0);
  const minutes = ((samples.at(-1)?.atMs ?? 0) - (samples[0]?.atMs ?? 0)) / 60_000;
  const bytesPerMinute = below === 0 ? 0 : (above / below) * 60_000;
  const highestBytes = Math.max(...samples.map(({ rssBytes }) => rssBytes));
  return { minutes, bytesPerMinute, grownBytes: bytesPerMinute * minutes, highestBytes };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function rssOf(pid: number): number | undefined {
  try {
    const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return kib === undefined ? undefined : Number(kib) * 1_024;
  } catch {
    return undefined;
  }
}

function descriptorsOf(pid: number | undefined): number {
  return pid === undefined ? 0 : readdirSync(`/proc/${pid}/fd`).length;
}
