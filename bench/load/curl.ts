/**
 * Curl: the load generator for transfers. What was asked for must arrive, with status 200.
 */
import { TunnelError } from '../../shared/errors.js';
import { VISITOR_HOST } from '../certificate.js';
import type { Scene } from '../scene.js';

/** A tenth of what a slow machine does with one connection. */
const SLOWEST_BYTES_PER_MS = 5_000;

/** How curl ends when `--max-time` ends it. */
const EXIT_TIME_IS_UP = 28;

const REPORT = '%{http_code} %{size_download} %{size_upload} %{time_total}';

export interface CurlTransfer {
  readonly status: number;
  readonly downloadedBytes: number;
  readonly uploadedBytes: number;
  readonly seconds: number;
}

/** A download of `bytes`, whole. Resolves with the seconds it took. Rejects with INTERNAL when anything is missing. */
export async function download(scene: Scene, port: number, path: string, bytes: number): Promise<number> {
  const transfer = await runCurl(scene, port, path, [], 15_000 + bytes / SLOWEST_BYTES_PER_MS);
  return checkWhole(transfer, transfer.downloadedBytes, bytes);
}

/** An upload of this file of `bytes`, whole. Resolves with the seconds until its answer. */
export async function upload(scene: Scene, port: number, file: string, bytes: number): Promise<number> {
  // Without the header curl would wait a second for a permission that nobody needs to give.
  const flags = ['-T', file, '-H', 'Expect:'];
  const transfer = await runCurl(scene, port, '/upload', flags, 15_000 + bytes / SLOWEST_BYTES_PER_MS);
  return checkWhole(transfer, transfer.uploadedBytes, bytes);
}

/** A download that is cut after `seconds`. Resolves with what had arrived. */
export async function downloadFor(scene: Scene, port: number, path: string, seconds: number): Promise<CurlTransfer> {
  const flags = ['--max-time', String(seconds)];
  const transfer = await runCurl(scene, port, path, flags, (seconds + 15) * 1_000, [0, EXIT_TIME_IS_UP]);
  checkWhole(transfer, 0, 0);
  return transfer;
}

/** A visitor who asks for something small and gives up after `patienceSeconds`. Resolves with whether it was answered. */
export async function isAnswered(scene: Scene, port: number, path: string, patienceSeconds: number): Promise<boolean> {
  const flags = ['--max-time', String(patienceSeconds)];
  const { status } = await runCurl(scene, port, path, flags, (patienceSeconds + 15) * 1_000, [0, EXIT_TIME_IS_UP]);
  return status === 200;
}

async function runCurl(
  scene: Scene,
  port: number,
  path: string,
  flags: readonly string[],
  timeoutMs: number,
  exitCodes: readonly number[] = [0],
): Promise<CurlTransfer> {
  const trust = ['--cacert', scene.world.certificate.cert, '--resolve', `${VISITOR_HOST}:${port}:127.0.0.1`];
  const report = ['-o', '/dev/null', '-w', REPORT];
  const args = ['-sS', '--http1.1', ...trust, ...report, ...flags, `https://${VISITOR_HOST}:${port}${path}`];
  return parseCurl(await scene.programs.run(scene.world.tools.curl, args, { timeoutMs, exitCodes }));
}

/** Reads the line that curl writes at its end. Throws INTERNAL when there is none. */
export function parseCurl(output: string): CurlTransfer {
  const [status, downloadedBytes, uploadedBytes, seconds] = output.trim().split(' ').map(Number);
  if (status === undefined || downloadedBytes === undefined || uploadedBytes === undefined || !(Number(seconds) > 0)) {
    throw new TunnelError('INTERNAL', `Cannot use the transfer: curl said ${JSON.stringify(output)}`);
  }
  return { status, downloadedBytes, uploadedBytes, seconds: Number(seconds) };
}

function checkWhole(transfer: CurlTransfer, bytes: number, expected: number): number {
  if (transfer.status === 200 && bytes === expected) return transfer.seconds;
  throw new TunnelError(
    'INTERNAL',
    `Cannot use the transfer: status ${transfer.status}, ${bytes} of ${expected} bytes`,
  );
}
