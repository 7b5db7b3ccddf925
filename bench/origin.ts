/**
 * Origin: the one nginx that every subject forwards to: a small answer, and a large file for downloads.
 *
 * Its CPU time belongs to nobody: it is the same work for each subject.
 */
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from './free-port.js';
import { startNginx } from './nginx.js';
import type { Scene } from './scene.js';

export const SMALL_PATH = '/small';
export const BULK_PATH = '/bulk';
/** A download that nobody waits for the end of. */
export const ENDLESS_PATH = '/endless';

const ENDLESS_BYTES = 64 * 1024 ** 3;

/** Ten thousand idle visitors keep ten thousand connections here, all of them perhaps with one worker. */
const CONNECTIONS = 16_384;

/** About what a sensor's state or an API's "ok" weighs. */
const SMALL_BODY = '{"entity_id":"light.kitchen","state":"on","attributes":{"brightness":180},"changed":"2026-01-01"}';

/** Starts the origin; returns its port. Its files are sparse: they take no disk, and the page cache serves them. */
export async function startOrigin(scene: Scene, bulkBytes: number): Promise<number> {
  const bulk = sparseFile(scene, 'bulk.bin', bulkBytes);
  const endless = sparseFile(scene, 'endless.bin', ENDLESS_BYTES);
  const port = await freePort();
  const http = `  server {
    listen 127.0.0.1:${port} backlog=4096;
    default_type application/json;
    location = ${SMALL_PATH} { return 200 '${SMALL_BODY}'; }
    location = ${BULK_PATH} { default_type application/octet-stream; alias ${bulk}; }
    location = ${ENDLESS_PATH} { default_type application/octet-stream; alias ${endless}; }
  }`;
  await startNginx(scene, { name: 'origin', port, http, connections: CONNECTIONS });
  return port;
}

function sparseFile(scene: Scene, name: string, bytes: number): string {
  const file = join(scene.folder, name);
  writeFileSync(file, '');
  truncateSync(file, bytes);
  return file;
}
