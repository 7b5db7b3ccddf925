/**
 * Stage: where the figures of a run are taken. Decides which subjects take part, and keeps one set of them standing for
 * all figures that need the same surroundings, so that none idles beside another set's measurement.
 *
 * Owns: the standing scene. Owned by: run.ts.
 */
import { asTunnelError } from '../shared/errors.js';
import type { Absent } from './figure.js';
import { type Place, placeName, prepare } from './place.js';
import type { Scene } from './scene.js';
import type { BenchSize } from './size.js';
import type { Subject, SubjectKind } from './subjects/subject.js';
import type { BenchWorld } from './world.js';

/** The subjects of a figure, in order, and those that are missing with the reason. */
export interface StandingSubjects {
  readonly scene: Scene;
  readonly subjects: readonly Subject[];
  readonly absent: readonly Absent[];
}

export interface StageOptions {
  /** In order: the first one is the reference of most figures. */
  readonly kinds: readonly SubjectKind[];
  readonly size: BenchSize;
}

export class Stage {
  readonly world: BenchWorld;
  readonly size: BenchSize;
  readonly #kinds: readonly SubjectKind[];
  readonly #scenes = new Set<Scene>();
  #standing: { readonly key: string; readonly subjects: StandingSubjects } | undefined;

  constructor(world: BenchWorld, { kinds, size }: StageOptions) {
    this.world = world;
    this.size = size;
    this.#kinds = kinds;
  }

  /** The chosen kinds of subjects, without those that a figure cannot use; nothing is started. */
  kinds(not: readonly string[] = []): readonly SubjectKind[] {
    return this.#kinds.filter(({ name }) => !not.includes(name));
  }

  /** All subjects of the run but `not`, at work in these surroundings until a figure asks for others. */
  async subjects(place: Place, not: readonly string[] = []): Promise<StandingSubjects> {
    const key = [placeName(place), ...not].join(' ');
    if (this.#standing?.key !== key) {
      await this.clear();
      const subjects = await this.#start(place, not);
      this.#standing = { key, subjects };
    }
    return this.#standing.subjects;
  }

  /** A scene for a figure that starts its own; ended with the figure, or earlier by whoever opened it. */
  scene(name: string): Scene {
    const scene = this.world.scene(name);
    this.#scenes.add(scene);
    return scene;
  }

  /** Ends all that stands. */
  async clear(): Promise<void> {
    this.#standing = undefined;
    const scenes = [...this.#scenes];
    this.#scenes.clear();
    await Promise.all(scenes.map((scene) => scene.close()));
  }

  async #start(place: Place, not: readonly string[]): Promise<StandingSubjects> {
    const scene = this.scene(placeName(place));
    await prepare(scene, place);
    const subjects: Subject[] = [];
    const absent: Absent[] = [];
    for (const kind of this.kinds(not)) {
      const reason = kind.missing();
      if (reason !== undefined) absent.push({ name: kind.name, reason });
      else await this.#startOne(kind, scene, subjects, absent);
    }
    return { scene, subjects, absent };
  }

  /** A peer that does not start is absent; the run goes on with the others. */
  async #startOne(kind: SubjectKind, scene: Scene, subjects: Subject[], absent: Absent[]): Promise<void> {
    try {
      subjects.push(await kind.start(scene));
    } catch (error) {
      if (this.world.stop.signal.aborted) throw error;
      absent.push({ name: kind.name, reason: `does not start: ${asTunnelError(error).message}` });
    }
  }
}
