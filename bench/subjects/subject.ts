/**
 * Subject: one way from a visitor to the origin, ready to be measured.
 */
import { residentBytes } from '../memory.js';
import { processTree } from '../process-tree.js';
import type { Scene } from '../scene.js';

/** A program of a subject; what it uses counts, with all its processes. */
export interface SubjectPart {
  /** `relay`, `client`, `nginx`, `frps`. */
  readonly name: string;
  readonly pid: number;
  /** What the processes that it started are told as; they are counted with it when left out. */
  readonly children?: string;
  /** Beside the visitors, or beside the origin. */
  readonly side: 'public' | 'home';
}

export interface Subject {
  readonly name: string;
  /** What runs, in a few words, for the report. */
  readonly what: string;
  /** Where it takes HTTPS on loopback. */
  readonly port: number;
  readonly parts: readonly SubjectPart[];
}

/** A subject that may be started. */
export interface SubjectKind {
  readonly name: string;
  /** Why it cannot be started here; undefined when it can. */
  missing(): string | undefined;
  /** Starts it with everything that belongs to it; ended with the scene. */
  start(scene: Scene): Promise<Subject>;
}

/** CPU seconds by part, and `total`. */
export type CpuByPart = Readonly<Record<string, number>>;

/** The CPU time that each part, with all its processes, has used since it began. */
export function cpuOf(subject: Pick<Subject, 'parts'>): CpuByPart {
  const parts = subject.parts.flatMap(cpuOfPart);
  return { ...Object.fromEntries(parts), total: parts.reduce((sum, [, seconds]) => sum + seconds, 0) };
}

function cpuOfPart({ name, pid, children }: SubjectPart): (readonly [string, number])[] {
  const [own = 0, ...others] = processTree(pid).map((process) => process.cpuSeconds);
  const started = others.reduce((sum, seconds) => sum + seconds, 0);
  return children === undefined
    ? [[name, own + started]]
    : [
        [name, own],
        [children, started],
      ];
}

/** What was used in between, divided by `units` of work and multiplied by `scale`. */
export function cpuPer(before: CpuByPart, after: CpuByPart, units: number, scale = 1): CpuByPart {
  const entries = Object.entries(after).map(([part, seconds]) => [
    part,
    ((seconds - (before[part] ?? 0)) * scale) / units,
  ]);
  return Object.fromEntries(entries);
}

/** Resident bytes of all parts of a subject, or of one side. */
export function residentOf(subject: Pick<Subject, 'parts'>, side?: SubjectPart['side']): number {
  const parts = subject.parts.filter((part) => side === undefined || part.side === side);
  return parts.reduce((sum, { pid }) => sum + residentBytes(pid), 0);
}
