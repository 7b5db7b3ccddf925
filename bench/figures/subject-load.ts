/**
 * SubjectLoad: a figure's load on a subject, which makes the subject a contestant.
 */
import type { Cast, Measurement } from '../figure.js';
import type { Place } from '../place.js';
import type { Scene } from '../scene.js';
import type { Stage } from '../stage.js';
import { cpuOf, cpuPer, type Subject } from '../subjects/subject.js';

export interface SubjectLoad {
  readonly place: Place;
  /** Subjects that have no part in this figure. */
  readonly not?: readonly string[];
  warmUp(scene: Scene, subject: Subject): Promise<unknown>;
  measure(scene: Scene, subject: Subject): Promise<Measurement>;
}

/** What Node costs, with http-proxy and alone, is asked where a request, a byte or a visitor has its price. */
export const NOT_THE_BASELINES = ['http-proxy', 'node'];

/** All subjects of the stage under this load. */
export async function enterSubjects(stage: Stage, load: SubjectLoad): Promise<Cast> {
  const { scene, subjects, absent } = await stage.subjects(load.place, load.not);
  const contestants = subjects.map((subject) => {
    const { name, what } = subject;
    return {
      ...{ name, what },
      warmUp: () => load.warmUp(scene, subject),
      measure: () => load.measure(scene, subject),
    };
  });
  return { contestants, absent };
}

/** What came of a piece of work, and what its CPU time was per unit of work. */
export interface CountedWork<T> {
  readonly done: T;
  /** In all programs of the subject, and by program. */
  readonly cpu: number;
  readonly parts: Readonly<Record<string, number>>;
}

/**
 * Does a piece of work and counts the subject's CPU time meanwhile.
 * @param units tells how much work was done.
 * @param scale of the result: 1 for seconds, 1,000,000 for microseconds.
 */
export async function countCpu<T>(
  subject: Pick<Subject, 'parts'>,
  work: () => Promise<T>,
  units: (done: T) => number,
  scale = 1,
): Promise<CountedWork<T>> {
  const before = cpuOf(subject);
  const done = await work();
  const { total = 0, ...parts } = cpuPer(before, cpuOf(subject), units(done), scale);
  return { done, cpu: total, parts };
}
