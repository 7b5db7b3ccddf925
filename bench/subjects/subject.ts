/**
 * Subject: one way from a visitor to the origin, ready to be measured.
 */
import { cpuSeconds } from '../cpu-time.js';

/** A program of a subject whose CPU time counts. */
export interface SubjectPart {
  /** `relay`, `client`, `nginx`. */
  readonly name: string;
  readonly pid: number;
}

export interface Subject {
  readonly name: string;
  /** What runs, in a few words, for the report. */
  readonly what: string;
  /** Where it takes HTTPS on loopback. */
  readonly port: number;
  readonly parts: readonly SubjectPart[];
}

/** CPU seconds by part, and `total`. */
export type CpuByPart = Readonly<Record<string, number>>;

/** The CPU time that each part, with all its processes, has used since it began. */
export function cpuOf(subject: Subject): CpuByPart {
  const parts = subject.parts.map(({ name, pid }) => [name, cpuSeconds(pid)] as const);
  return { ...Object.fromEntries(parts), total: parts.reduce((sum, [, seconds]) => sum + seconds, 0) };
}

/** What was used in between, divided by `units` of work and multiplied by `scale`. */
export function cpuPer(before: CpuByPart, after: CpuByPart, units: number, scale = 1): CpuByPart {
  const entries = Object.entries(after).map(([part, seconds]) => [
    part,
    ((seconds - (before[part] ?? 0)) * scale) / units,
  ]);
  return Object.fromEntries(entries);
}
