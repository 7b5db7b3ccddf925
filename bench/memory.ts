/**
 * Memory: what processes hold resident, from /proc (Linux, proc(5)). Pages that the processes of one program share count
 * for each of them.
 */
import { readFileSync } from 'node:fs';
import { processTree } from './process-tree.js';

const KIB = 1024;
const POLL_MS = 250;

/** Steady means: this many readings in a row that differ by no more than this share. */
const STEADY_READINGS = 6;
const STEADY_SHARE = 0.01;
const STEADY_WITHIN_MS = 15_000;

/** Resident bytes of a process and its living descendants. */
export function residentBytes(pid: number): number {
  return processTree(pid).reduce((sum, process) => sum + readResident(process.pid), 0);
}

/** Waits until `read` is steady for a second and a half, at most 15 s; resolves with what it says then. */
export async function steadyBytes(read: () => number): Promise<number> {
  const readings: number[] = [];
  const untilMs = performance.now() + STEADY_WITHIN_MS;
  while (performance.now() < untilMs) {
    readings.push(read());
    if (isSteady(readings.slice(-STEADY_READINGS))) break;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return readings.at(-1) ?? read();
}

function isSteady(readings: readonly number[]): boolean {
  if (readings.length < STEADY_READINGS) return false;
  const least = Math.min(...readings);
  return Math.max(...readings) - least <= least * STEADY_SHARE;
}

/** 0 for a process that ended meanwhile. */
function readResident(pid: number): number {
  try {
    return parseResident(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return 0;
  }
}

/** The resident bytes that /proc/PID/status tells; 0 for a process without memory. */
export function parseResident(text: string): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * KIB;
}
