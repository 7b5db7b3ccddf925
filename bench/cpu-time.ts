/**
 * CpuTime: what a process and all its descendants have used of the processors, and what everybody else has.
 */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { processTree, TICKS_PER_SECOND } from './process-tree.js';

/** User and system seconds of a process, its living descendants, and those that it has waited for. */
export function cpuSeconds(pid: number): number {
  return processTree(pid).reduce((sum, process) => sum + process.cpuSeconds, 0);
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
    return Math.min(1, Math.max(0, (othersSeconds() - began) / availableSeconds));
  };
}

function othersSeconds(): number {
  const line = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0] ?? '';
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0] = line.split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softIrq) / TICKS_PER_SECOND - cpuSeconds(process.pid);
}
