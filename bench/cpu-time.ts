/**
 * CpuTime: what a process and all its descendants have used of the processors, and what everybody else has, from /proc
 * (Linux, proc(5)).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** USER_HZ, the unit of times in /proc: 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

interface ProcessTimes {
  readonly pid: number;
  readonly parent: number;
  readonly ticks: number;
}

/** User and system seconds of a process, its living descendants, and those that it has waited for. */
export function cpuSeconds(pid: number): number {
  const names = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const processes = names.map(readTimes).filter((found) => found !== undefined);
  return sumTicks(processes, pid) / TICKS_PER_SECOND;
}

/**
 * Watches what programs outside the bench do meanwhile. The returned function tells their share of all processors since
 * then, 0 to 1: while it is large, no rate means much.
 */
export function watchOthers(): () => number {
  const began = othersSeconds();
  const beganAtMs = performance.now();
  return () => {
    const availableSeconds = ((performance.now() - beganAtMs) / 1_000) * cpus().length;
    return Math.max(0, (othersSeconds() - began) / availableSeconds);
  };
}

function othersSeconds(): number {
  const line = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0] ?? '';
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0] = line.split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softIrq) / TICKS_PER_SECOND - cpuSeconds(process.pid);
}

function sumTicks(processes: readonly ProcessTimes[], root: number): number {
  const children = processes.filter(({ parent }) => parent === root);
  const own = processes.find(({ pid }) => pid === root)?.ticks ?? 0;
  return children.reduce((sum, child) => sum + sumTicks(processes, child.pid), own);
}

/** Undefined for a process that ended meanwhile. */
function readTimes(pid: string): ProcessTimes | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command name, in parentheses, may hold anything; the fields after it are: state, parent, …
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const times = fields.slice(11, 15);
    return { pid: Number(pid), parent: fields[1] ?? 0, ticks: times.reduce((sum, time) => sum + time, 0) };
  } catch {
    return undefined;
  }
}
