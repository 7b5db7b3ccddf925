/**
 * Wrk: the load generator for requests per second. One thread, because the machine's other cores are for the subject;
 * every answer must be a 2xx or 3xx.
 */

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TunnelError } from '../../shared/errors.js';
import { VISITOR_HOST } from '../certificate.js';
import type { Scene } from '../scene.js';

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
  /** Asked for, in SNI and Host; the visitors' host when left out. */
  readonly host?: string;
  /** Every request comes over a new connection, with a whole TLS handshake. */
  readonly newConnections?: boolean;
}

/** Runs wrk once. Rejects with INTERNAL when a request failed. */
export async function runWrk(scene: Scene, options: WrkOptions): Promise<WrkCount> {
  const script = join(scene.folder, 'wrk.lua');
  // Written once: another wrk may be reading it.
  if (!existsSync(script)) writeFileSync(script, SCRIPT);
  const url = `https://${options.host ?? VISITOR_HOST}:${options.port}${options.path}`;
  const close = options.newConnections ? ['-H', 'Connection: close'] : [];
  const args = ['-t1', `-c${options.connections}`, `-d${options.seconds}s`, ...close, '-s', script, url];
  const timeoutMs = (options.seconds + 15) * 1_000;
  return parseWrk(await scene.programs.run(scene.world.tools.wrk, args, { timeoutMs }));
}

/** Reads what the script printed. Throws INTERNAL when a request failed or none was made. */
export function parseWrk(output: string): WrkCount {
  const line = output.split('\n').find((text) => text.startsWith('{')) ?? '{}';
  const { requests = 0, micros = 0, errors = 0 } = JSON.parse(line) as Record<string, number>;
  if (requests === 0 || errors > 0) {
    throw new TunnelError('INTERNAL', `Cannot use the run: ${requests} requests, ${errors} errors\n${output}`);
  }
  return { requests, seconds: micros / 1_000_000 };
}
