/**
 * ProcessMetrics: how the process itself is doing: memory, CPU, open files, and how late the event loop is. The delay is
 * sampled at each tick of the deadlines' clock, so it needs no timer of its own.
 *
 * Owned by: the composition root, which also owns the clock.
 */
import { readdirSync } from 'node:fs';
import { type Deadlines, TICK_MS, type Watched } from '../deadlines.js';
import { VERSION } from '../version.js';
import type { Exposition } from './exposition.js';
import { Histogram } from './histogram.js';

const MICROSECOND = 1e-6;

export class ProcessMetrics implements Watched {
  readonly #delay = new Histogram();
  #tickedAtMs = performance.now();

  constructor(deadlines: Deadlines) {
    deadlines.watch(this);
  }

  onTick(nowMs: number): void {
    this.#delay.observe(Math.max(0, nowMs - this.#tickedAtMs - TICK_MS));
    this.#tickedAtMs = nowMs;
  }

  expose(to: Exposition): void {
    const { rss, heapUsed } = process.memoryUsage();
    const { user, system } = process.cpuUsage();
    to.gauge('sallyport_build_info', 'Always 1; says which version runs', [
      [1, { version: VERSION, node: process.versions.node }],
    ]);
    to.gauge('process_start_time_seconds', 'When the process started, seconds since 1970', [
      [Date.now() / 1_000 - process.uptime()],
    ]);
    to.counter('process_cpu_seconds_total', 'CPU time used', [[(user + system) * MICROSECOND]]);
    to.gauge('process_resident_memory_bytes', 'Memory in use', [[rss]]);
    to.gauge('process_open_fds', 'Open file descriptors; absent where the system does not tell', openFiles());
    to.gauge('nodejs_heap_used_bytes', 'JavaScript heap in use', [[heapUsed]]);
    to.histogram('sallyport_event_loop_delay_seconds', 'How late the event loop was, sampled four times a second', [
      [this.#delay],
    ]);
  }
}

function openFiles(): [count: number][] {
  try {
    return [[readdirSync('/proc/self/fd').length]];
  } catch {
    return [];
  }
}
