/** Files are read through one door: regular ones alone, of a bounded length, and nobody waits for the writer of a pipe. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { openToRead, readFileBytes, readTextFile } from '../shared/files/bounded-file.js';
import { refusalOf } from './support/config-error.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool } from './support/tool-process.js';
import { RELAY_PROGRAM, TUNNEL_PROGRAM } from './support/world.js';

test('a regular file is read with its permissions, also through a link, and where its size is not told', (t) => {
  const folder = temporaryFolder(t);
  const [file, link] = [join(folder, 'file'), join(folder, 'link')];
  writeFileSync(file, 'héllo');
  chmodSync(file, 0o640);
  symlinkSync(file, link);
  assert.deepEqual(readTextFile(link, 6), { text: 'héllo', mode: 0o640 });
  assert.equal(
    refusalOf(() => readTextFile(link, 5, 'config file')),
    `Cannot read config file ${link}: it is longer than 5 bytes`,
  );
  if (process.platform === 'linux') assert.match(readTextFile('/proc/self/status').text, /^Name:/);
});

test('what is no regular file is refused by its kind, by every way to read', async (t) => {
  const folder = temporaryFolder(t);
  const [pipe, socket, linked] = [join(folder, 'pipe'), join(folder, 'socket'), join(folder, 'linked')];
  execFileSync('mkfifo', [pipe]);
  symlinkSync(pipe, linked);
  const server = createServer().listen(socket);
  t.after(() => server.close());
  await once(server, 'listening');
  const cases: [path: string, state: string][] = [
    [folder, 'it is a folder'],
    [socket, 'it is a socket, not a file'],
    ['/dev/zero', 'it is a device, not a file'],
    [pipe, 'it is a pipe, not a file'],
    [linked, 'it is a pipe, not a file'],
  ];
  for (const [path, state] of cases) {
    assert.equal(
      refusalOf(() => readTextFile(path, 100)),
      `Cannot read file ${path}: ${state}`,
    );
    assert.throws(() => readFileBytes(path), { message: state });
    await assert.rejects(openToRead(path), { message: state });
  }
});

test('neither program waits for a pipe in the place of its config, its token or its certificates', async (t) => {
  const folder = temporaryFolder(t);
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', ['-m', '600', pipe]);
  const [relay, tunnel] = [join(folder, 'relay.yaml'), join(folder, 'tunnel.yaml')];
  const files = `tls: { mode: files, certificates: [{ cert_file: ${pipe}, key_file: ${pipe} }] }`;
  writeFileSync(relay, `domain: example.com\nstate_dir: state\n${files}\n`);
  writeFileSync(tunnel, `relay_url: https://example.com\ntoken_file: ${pipe}\ntunnels: []\n`);
  const verbs: [program: string, config: string][] = [
    [RELAY_PROGRAM, pipe],
    [RELAY_PROGRAM, relay],
    [TUNNEL_PROGRAM, pipe],
    [TUNNEL_PROGRAM, tunnel],
  ];
  for (const [program, config] of verbs) {
    const { code, stderr } = await runTool(t, process.execPath, [program, 'check', '--config', config]);
    assert.equal(code, 78, stderr);
    assert.match(stderr, /Cannot read .*: it is a pipe, not a file/);
  }
});
