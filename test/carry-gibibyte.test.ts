/** 1 GiB through the tunnel in each direction: nobody on the way loses, doubles or reorders a byte. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { writeBigFile } from './support/big-file.js';
import { appUrl, curlOptions, runCurl, startAppTunnel } from './support/carry.js';
import { startNginx } from './support/nginx.js';
import { startHttpOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { ToolProcess } from './support/tool-process.js';

const GIB = 1024 ** 3;

test('a POST of 1 GiB arrives with the SHA-256 with which it was sent', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const file = join(temporaryFolder(t), 'big.bin');
  const sent = await writeBigFile(file, GIB);
  const received = createHash('sha256');
  const origin = await startHttpOrigin(t, async (request, response) => {
    await pipeline(request, received);
    response.end(`thanks for ${request.headers['content-length']}`);
  });
  const relay = await startAppTunnel(t, origin.url);
  const { stdout, stderr } = await runCurl(t, curl, relay, ['-X', 'POST', '-T', file, appUrl(relay, '/')]);
  assert.equal(stdout, `thanks for ${GIB}`, stderr);
  assert.equal(received.digest('hex'), sent);
});

test('a download of 1 GiB from nginx arrives with the SHA-256 of the file', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  const nginx = requireTool(t, 'nginx', 'nginx-light');
  if (curl === undefined || nginx === undefined) return;
  const folder = temporaryFolder(t);
  const sent = await writeBigFile(join(folder, 'big.bin'), GIB);
  const socket = join(folder, 'nginx.sock');
  await startNginx(t, nginx, `server { listen unix:${socket}; root ${folder}; }`);
  const relay = await startAppTunnel(t, `unix:${socket}`);
  const visit = new ToolProcess(t, curl, [...curlOptions(relay), appUrl(relay, '/big.bin')]);
  visit.child.stderr.resume();
  const received = createHash('sha256');
  await pipeline(visit.child.stdout, received);
  assert.equal(await visit.closed, 0);
  assert.equal(received.digest('hex'), sent);
});
