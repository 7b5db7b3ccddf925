/**
 * Wrk: the load generator for small requests. Decides what a run with it is: one thread, so that on two cores it leaves
 * room for the subject; every answer must be a 2xx or 3xx.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TunnelError } from '../shared/errors.js';
import { VISITOR_HOST } from './certificate.js';
import type { BenchWorld } from './world.js';

/** Sends everything to loopback whatever the resolver thinks of `.localhost`, and prints what was counted as JSON. */
const SCRIPT = `function wrk.resolve(host, service)
  wrk.addrs = wrk.lookup("127.0.0.1", service)
end

function done(summary)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"micros":%d,"errors":%d}\\n', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
`;

/** What wrk counted. */
export interface WrkCount {
  readonly requests: number;
  readonly seconds: number;
}

export interface WrkOptions {
  readonly port: number;
  readonly path: string;
  readonly connections: number;
  /** Whole seconds. */
  readonly seconds: number;
}

/** Runs wrk once. Rejects with INTERNAL when a request failed. */
export async function runWrk(world: BenchWorld, options: WrkOptions): Promise<WrkCount> {
  const script = join(world.folder, 'wrk.lua');
  writeFileSync(script, SCRIPT);
  const url = `https://${VISITOR_HOST}:${options.port}${options.path}`;
  const args = ['-t1', `-c${options.connections}`, `-d${options.seconds}s`, '-s', script, url];
  const output = await world.programs.run(world.tools.wrk, args, { timeoutMs: (options.seconds + 15) * 1_000 });
  const line = output.split('\n').find((text) => text.startsWith('{')) ?? '{}';
  const { requests = 0, micros = 0, errors = 0 } = JSON.parse(line) as Record<string, number>;
  if (requests === 0 || errors > 0) {
    throw new TunnelError('INTERNAL', `Cannot use the run: ${requests} requests, ${errors} errors\n${output}`);
  }
  return { requests, seconds: micros / 1_000_000 };
}
