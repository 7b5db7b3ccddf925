/** A real nginx with a configuration of the test's own, in the foreground, as long as the test runs. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryFolder } from './temporary-folder.js';
import { ToolProcess } from './tool-process.js';

/** Where nginx puts bodies that do not fit its buffers; its built-in places belong to root. */
const SPOOLS = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];

/**
 * Starts nginx; it accepts connections when this resolves.
 * @param http what stands in its `http` block; relative paths count from `folder`.
 */
export async function startNginx(
  t: Pick<TestContext, 'after'>,
  nginx: string,
  http: string,
  folder = temporaryFolder(t),
): Promise<void> {
  const spools = SPOOLS.map((name) => {
    mkdirSync(join(folder, name), { recursive: true });
    return `${name}_temp_path ${name};`;
  });
  const file = join(folder, 'nginx.conf');
  const lines = [
    // One process: no worker outlives a master that was killed, and it may read what the test may.
    'daemon off; master_process off;',
    'pid nginx.pid; error_log stderr notice;',
    'events { worker_connections 512; }',
    `http { access_log off; client_max_body_size 0; ${spools.join(' ')}`,
    http,
    '}',
    '',
  ];
  writeFileSync(file, lines.join('\n'));
  const tool = new ToolProcess(t, nginx, ['-p', folder, '-c', file, '-e', 'stderr']);
  // It says so after it has opened its sockets.
  await tool.line(' OS: ');
}
