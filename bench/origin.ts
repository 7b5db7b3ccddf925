/**
 * Origin: the one nginx that every subject forwards to: a small answer, and a large file for downloads.
 *
 * Its CPU time belongs to nobody: it is the same work for each subject.
 */
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, startNginx } from './nginx.js';
import type { BenchWorld } from './world.js';

export const SMALL_PATH = '/small';
export const BULK_PATH = '/bulk';

/** About what a sensor's state or an API's "ok" weighs. */
const SMALL_BODY = '{"entity_id":"light.kitchen","state":"on","attributes":{"brightness":180},"changed":"2026-01-01"}';

/** Starts the origin; returns its port. The large file is sparse: it takes no disk, and the page cache serves it. */
export async function startOrigin(world: BenchWorld, bulkBytes: number): Promise<number> {
  const file = join(world.folder, 'bulk.bin');
  writeFileSync(file, '');
  truncateSync(file, bulkBytes);
  const port = await freePort();
  const config = `  server {
    listen 127.0.0.1:${port};
    default_type application/json;
    location = ${SMALL_PATH} { return 200 '${SMALL_BODY}'; }
    location = ${BULK_PATH} { default_type application/octet-stream; alias ${file}; }
  }`;
  await startNginx(world, 'origin', port, config);
  return port;
}
