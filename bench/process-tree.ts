/**
 * ProcessTree: a process and all its living descendants, as /proc tells (Linux, proc(5)).
 */
import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ, the unit of times in /proc: 100 on every Linux that Node runs on. */
export const TICKS_PER_SECOND = 100;

export interface ProcessFacts {
  readonly pid: number;
  readonly parent: number;
  /** User and system time of it, and of the children that it has waited for. */
  readonly cpuSeconds: number;
}

/** The process itself first; empty when it is gone. */
export function processTree(root: number): ProcessFacts[] {
  const names = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const all = names.map(readProcess).filter((found) => found !== undefined);
  const own = all.find(({ pid }) => pid === root);
  return own === undefined ? [] : [own, ...descendants(all, root)];
}

function descendants(all: readonly ProcessFacts[], root: number): ProcessFacts[] {
  return all.filter(({ parent }) => parent === root).flatMap((child) => [child, ...descendants(all, child.pid)]);
}

/** Undefined for a process that ended meanwhile. */
function readProcess(pid: string): ProcessFacts | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return undefined;
  }
}

/** What one line of /proc/PID/stat says. The command's name, in parentheses, may hold anything. */
export function parseStat(text: string): ProcessFacts {
  const fields = text
    .slice(text.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const ticks = fields.slice(11, 15).reduce((sum, time) => sum + time, 0);
  return { pid: Number.parseInt(text, 10), parent: fields[1] ?? 0, cpuSeconds: ticks / TICKS_PER_SECOND };
}
