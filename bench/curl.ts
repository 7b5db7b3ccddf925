/**
 * Curl: the load generator for downloads. The whole body must arrive, with status 200.
 */
import { TunnelError } from '../shared/errors.js';
import { VISITOR_HOST } from './certificate.js';
import type { BenchWorld } from './world.js';

/** A tenth of what a slow machine does with one connection. */
const SLOWEST_BYTES_PER_MS = 5_000;

export interface CurlOptions {
  readonly port: number;
  readonly path: string;
  /** What must arrive. */
  readonly bytes: number;
}

/** Downloads once; resolves with the seconds it took. Rejects with INTERNAL when anything is missing. */
export async function runCurl(world: BenchWorld, options: CurlOptions): Promise<number> {
  const { port, path, bytes } = options;
  const trust = ['--cacert', world.certificate.cert, '--resolve', `${VISITOR_HOST}:${port}:127.0.0.1`];
  const report = '%{http_code} %{size_download} %{time_total}';
  const args = [
    '-sS',
    '--http1.1',
    ...trust,
    '-o',
    '/dev/null',
    '-w',
    report,
    `https://${VISITOR_HOST}:${port}${path}`,
  ];
  const timeoutMs = 15_000 + bytes / SLOWEST_BYTES_PER_MS;
  const output = await world.programs.run(world.tools.curl, args, { timeoutMs });
  const [status, received, seconds] = output.split(' ').map(Number);
  if (status !== 200 || received !== bytes || seconds === undefined) {
    throw new TunnelError('INTERNAL', `Cannot use the download: status ${status}, ${received} of ${bytes} bytes`);
  }
  return seconds;
}
