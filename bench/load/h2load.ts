/**
 * H2load: the load generator for HTTP/2, and for a steady rate of requests whose times are wanted one by one.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { TunnelError } from '../../shared/errors.js';
import { VISITOR_HOST } from '../certificate.js';
import type { Scene } from '../scene.js';

export interface Http2Load {
  readonly port: number;
  readonly path: string;
  readonly connections: number;
  /** Requests under way on each connection. */
  readonly streams: number;
  /** Whole seconds. */
  readonly seconds: number;
}

export interface SteadyLoad {
  readonly port: number;
  readonly path: string;
  readonly connections: number;
  /** Over all connections. */
  readonly requestsPerSecond: number;
  /** Whole seconds. */
  readonly seconds: number;
}

export interface H2loadCount {
  readonly protocol: string;
  readonly requests: number;
  /** Those that the end of the run cut off count here too. */
  readonly failures: number;
  readonly seconds: number;
}

/** Requests over HTTP/2 as fast as they are answered. Rejects with INTERNAL when one failed before the end of the run. */
export async function runHttp2(scene: Scene, load: Http2Load): Promise<H2loadCount> {
  const count = parseH2load(await run(scene, load, ['-m', String(load.streams)]));
  if (count.protocol === 'h2' && count.failures <= load.connections * load.streams) return count;
  throw new TunnelError('INTERNAL', `Cannot use the run: ${count.protocol}, ${count.failures} failures`);
}

/** Requests over HTTP/1.1 at a steady rate; resolves with the milliseconds that each took. */
export async function runSteady(scene: Scene, load: SteadyLoad): Promise<number[]> {
  const log = join(scene.folder, 'h2load.log');
  // h2load appends to what is there.
  rmSync(log, { force: true });
  const rate = String(load.requestsPerSecond / load.connections);
  await run(scene, load, ['--h1', `--rps=${rate}`, `--log-file=${log}`]);
  return parseH2loadLog(readFileSync(log, 'latin1'));
}

function run(scene: Scene, load: SteadyLoad | Http2Load, flags: readonly string[]): Promise<string> {
  const { port, path, connections, seconds } = load;
  const where = [`--connect-to=127.0.0.1:${port}`, `https://${VISITOR_HOST}:${port}${path}`];
  const args = ['-t1', `-c${connections}`, `-D${seconds}`, ...flags, ...where];
  return scene.programs.run(scene.world.tools.h2load, args, { timeoutMs: (seconds + 15) * 1_000 });
}

/** Reads h2load's summary. Throws INTERNAL when it has none, or when an answer was no 2xx. */
export function parseH2load(output: string): H2loadCount {
  const requests = /^requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed/m.exec(output);
  const codes = /^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/m.exec(output);
  const finished = /^finished in ([\d.]+)(us|ms|s|m)\b/m.exec(output);
  const succeeded = Number(requests?.[2] ?? 0);
  if (finished === null || codes === null || succeeded === 0 || Number(codes[1]) < succeeded) {
    throw new TunnelError('INTERNAL', `Cannot use the run of h2load:\n${output.slice(-1_000)}`);
  }
  const unit = { us: 1e-6, ms: 1e-3, s: 1, m: 60 }[finished[2] ?? 's'] ?? 1;
  return {
    protocol: /^Application protocol: (\S+)/m.exec(output)?.[1] ?? 'none',
    requests: succeeded,
    failures: Number(requests?.[3]),
    seconds: Number(finished[1]) * unit,
  };
}

/**
 * The milliseconds of each request in h2load's log: start in microseconds since 1970, status, microseconds. Throws
 * INTERNAL when there is none, or when one failed. What the end of the run cut off has status -1 and does not count.
 */
export function parseH2loadLog(text: string): number[] {
  const rows = text.split('\n').filter((line) => line !== '');
  const entries = rows.map((line) => line.split('\t').map(Number));
  const whole = entries.filter(([, status]) => status !== -1);
  const wrong = whole.find(([, status]) => status !== 200);
  if (whole.length === 0 || wrong !== undefined) {
    throw new TunnelError('INTERNAL', `Cannot use the run of h2load: ${whole.length} answers, status ${wrong?.[1]}`);
  }
  return whole.map(([, , micros = 0]) => micros / 1_000);
}
