/** The status socket: private to its user, gone with its process, and readable by `tunnel status`. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ClientStatus, HomeCertificate } from '../tunnel-client/ops/client-status.js';
import { socketPath, statusFolder } from '../tunnel-client/ops/status-folder.js';
import { readAllStatuses, StatusSocket } from '../tunnel-client/ops/status-socket.js';
import { formatStatus, runStatus } from '../tunnel-client/status-command.js';
import { clientStatus, tunnelStatus } from './support/client-status.js';

async function emptyFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-status-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function openSocket(t: TestContext, folder: string, status: ClientStatus): Promise<StatusSocket> {
  const socket = await StatusSocket.open(() => status, { folder });
  t.after(() => socket.close());
  return socket;
}

/** The socket of another process that ended without removing it. */
async function leaveStaleSocket(folder: string): Promise<string> {
  const script = `require('node:net').createServer().listen(process.argv[1] + '/tunnel-' + process.pid + '.sock', () => process.kill(process.pid, 'SIGKILL'))`;
  const child = spawn(process.execPath, ['-e', script, folder], { stdio: 'ignore' });
  await once(child, 'exit');
  const path = socketPath(folder, child.pid ?? 0);
  assert.ok(existsSync(path));
  return path;
}

/** Runs `tunnel status` and returns what it printed and its exit code, or the code of its failure. */
async function statusCommand(folder: string, json = false): Promise<{ text: string; exit: number | string }> {
  const lines: string[] = [];
  const io = { print: (line: string) => void lines.push(line) };
  const exit = await runStatus({ folder, json }, io).catch((error) => error.code);
  return { text: lines.join('\n'), exit };
}

test('a client tells its status to whoever reads its socket', async (t) => {
  const folder = await emptyFolder(t);
  const status = clientStatus({ pid: process.pid, tunnels: [tunnelStatus({ bytesIn: 7 })] });
  await openSocket(t, folder, status);
  assert.deepEqual(await readAllStatuses({ folder }), JSON.parse(JSON.stringify([status])));
});

test('the snapshot is taken anew for each reader', async (t) => {
  const folder = await emptyFolder(t);
  let reconnects = 0;
  const socket = await StatusSocket.open(() => clientStatus({ reconnects: ++reconnects }), { folder });
  t.after(() => socket.close());
  await readAllStatuses({ folder });
  assert.equal((await readAllStatuses({ folder }))[0]?.reconnects, 2);
});

test('folder and socket are for their user alone', async (t) => {
  const folder = join(await emptyFolder(t), 'made', 'here');
  await openSocket(t, folder, clientStatus());
  assert.equal((await stat(folder)).mode & 0o777, 0o700);
  assert.equal((await stat(socketPath(folder, process.pid))).mode & 0o777, 0o600);
});

test('close removes the socket, and may be called again', async (t) => {
  const folder = await emptyFolder(t);
  const socket = await openSocket(t, folder, clientStatus());
  await socket.close();
  await socket.close();
  assert.deepEqual(await readdir(folder), []);
  assert.deepEqual(await readAllStatuses({ folder }), []);
});

test('the sockets of dead processes are removed, and nothing else', async (t) => {
  const folder = await emptyFolder(t);
  const stale = await leaveStaleSocket(folder);
  await writeFile(join(folder, 'notes.txt'), 'mine');
  await writeFile(socketPath(folder, process.ppid), 'of a process that lives');
  assert.deepEqual(await readAllStatuses({ folder }), []);
  await openSocket(t, folder, clientStatus());
  assert.equal(existsSync(stale), false);
  assert.deepEqual((await readdir(folder)).length, 3);
});

test('a socket left by an earlier process with our id is replaced', async (t) => {
  const folder = await emptyFolder(t);
  await writeFile(socketPath(folder, process.pid), 'left behind');
  await openSocket(t, folder, clientStatus());
  assert.equal((await readAllStatuses({ folder })).length, 1);
});

test('a folder that others can open, a link, or a file is refused', async (t) => {
  const parent = await emptyFolder(t);
  const places = ['open', 'link', 'file'].map((name) => join(parent, name));
  const [open = '', link = '', file = ''] = places;
  await mkdir(open);
  await chmod(open, 0o755);
  await symlink(parent, link);
  await writeFile(file, '');
  for (const folder of places) {
    await assert.rejects(
      StatusSocket.open(() => clientStatus(), { folder }),
      { code: 'CONFIG_INVALID' },
    );
    assert.deepEqual(await readAllStatuses({ folder }), []);
  }
});

const needsRoot = process.getuid?.() === 0 ? false : 'skipped: only root can give a folder to another user';

test('a folder of another user is refused', { skip: needsRoot }, async (t) => {
  const folder = await emptyFolder(t);
  await chown(folder, 12_345, 12_345);
  await assert.rejects(
    StatusSocket.open(() => clientStatus(), { folder }),
    { code: 'CONFIG_INVALID' },
  );
});

test('the folder is in XDG_RUNTIME_DIR, else it carries the user id', () => {
  assert.equal(statusFolder({ XDG_RUNTIME_DIR: '/run/user/7' }), '/run/user/7/sallyport');
  assert.equal(statusFolder({}), join(tmpdir(), `sallyport-${process.getuid?.()}`));
});

test('answers that are no status are left out', async (t) => {
  const folder = await emptyFolder(t);
  await openSocket(t, folder, clientStatus());
  const body = '{"state":"serving"}';
  const answers = ['nonsense', `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`];
  for (const [at, answer] of answers.entries()) {
    const impostor = createServer((socket) => socket.on('error', () => {}).end(answer));
    t.after(() => impostor.close());
    impostor.listen(socketPath(folder, at + 1));
    await once(impostor, 'listening');
  }
  assert.deepEqual(
    (await readAllStatuses({ folder })).map((status) => status.pid),
    [4_242],
  );
});

test('tunnel status exits 0 while a client serves and prints a table', async (t) => {
  const folder = await emptyFolder(t);
  await openSocket(t, folder, clientStatus());
  const { text, exit } = await statusCommand(folder);
  assert.equal(exit, 0);
  assert.match(
    text,
    /^example\.com serving, up 3m 12s, 2 links \(12\.3 ms\), 0 reconnects, pid 4242, version 0\.1\.0\n/,
  );
  assert.match(
    text,
    /\n {2}home {4}online {2}https:\/\/home\.example\.com {2}http:\/\/127\.0\.0\.1:8123 {2}relay {2}1 of 20/,
  );
});

test('tunnel status tells a health check of a denied tunnel: 77 for good, 69 for what may pass', async (t) => {
  const exitOf = async (code: 'NOT_GRANTED' | 'CERTIFICATE_FAILED') => {
    const folder = await emptyFolder(t);
    const lastError = { code, message: 'Cannot claim', atMs: Date.now() };
    const denied = tunnelStatus({ name: 'other', state: 'denied', lastError });
    await openSocket(t, folder, clientStatus({ tunnels: [tunnelStatus(), denied] }));
    return (await statusCommand(folder)).exit;
  };
  assert.deepEqual([await exitOf('NOT_GRANTED'), await exitOf('CERTIFICATE_FAILED')], [77, 69]);
});

test('an end-to-end tunnel without its certificate is not simply online, and a CA without CAA identities is told', () => {
  const textOf = (certificate: HomeCertificate) =>
    formatStatus(clientStatus({ tunnels: [tunnelStatus({ tls: 'end-to-end', certificate })] }), Date.now());
  assert.match(textOf({ state: 'issuing', caa: [] }), /home {4}up, waiting for its certificate {2}https:/);
  const valid = { state: 'valid', notAfterMs: Date.now() + 86_400_000, issuer: 'ca', caa: [] } as const;
  assert.match(textOf(valid), /home {4}online {2}https:/);
  assert.doesNotMatch(textOf(valid), /CAA/);
  assert.match(
    textOf({ ...valid, isCaaUnnamed: true }),
    /home: no DNS record can keep others .* names no CAA identity/,
  );
});

test('tunnel status exits 69 while no client has a session, and says why', async (t) => {
  const folder = await emptyFolder(t);
  const lastError = { code: 'LINK_LOST', message: 'Cannot reach relay', atMs: Date.now() } as const;
  await openSocket(t, folder, clientStatus({ state: 'waiting', lastError }));
  const { text, exit } = await statusCommand(folder);
  assert.equal(exit, 69);
  assert.match(text, /LINK_LOST \ds ago: Cannot reach relay\n {2}Check the internet/);
});

test('tunnel status without a client fails with LINK_LOST, after an empty list in JSON', async (t) => {
  const folder = await emptyFolder(t);
  assert.deepEqual(await statusCommand(folder), { text: '', exit: 'LINK_LOST' });
  assert.deepEqual(await statusCommand(folder, true), { text: '{"clients":[]}', exit: 'LINK_LOST' });
});

test('tunnel status --json prints what the clients said', async (t) => {
  const folder = await emptyFolder(t);
  await openSocket(t, folder, clientStatus());
  const { text, exit } = await statusCommand(folder, true);
  assert.equal(exit, 0);
  assert.equal(JSON.parse(text).clients[0].tunnels[0].url, 'https://home.example.com');
});

test('the table escapes what the relay and the origins wrote', () => {
  const lastError = { code: 'ORIGIN_REFUSED', message: '\x1b[2J', atMs: 0 } as const;
  const tunnel = tunnelStatus({ name: '\x1b]0;x\x07', url: '\u202e', lastError });
  const text = formatStatus(clientStatus({ relay: '\x9b31m', tunnels: [tunnel] }), 0);
  assert.doesNotMatch(text.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u);
});

test('how the certificate of an end-to-end tunnel stands, and which records protect its name', () => {
  const record = 'home.example.com. CAA 0 issue "ca.example; accounturi=https://ca.example/acct/1"';
  const textOf = (changes: Partial<HomeCertificate>) => {
    const certificate: HomeCertificate = { state: 'valid', issuer: 'ca', notAfterMs: 86_400_000, caa: [], ...changes };
    return formatStatus(clientStatus({ tunnels: [tunnelStatus({ tls: 'end-to-end', certificate })] }), 0);
  };
  const none = { issuer: undefined, notAfterMs: undefined };
  assert.match(
    textOf({ caa: [record] }),
    /home: certificate valid until 1970-01-02, from ca\n {2}home: with these DNS records/,
  );
  assert.ok(textOf({ caa: [record] }).endsWith(`\n    ${record}`));
  assert.match(textOf({ ...none, state: 'issuing' }), /home: getting a certificate/);
  const failed = { state: 'waiting', lastError: 'Cannot get one: it saw X. Do Y.', retryAtMs: 60_000 } as const;
  assert.match(
    textOf({ ...none, ...failed }),
    /home: no certificate: Cannot get one: it saw X\. Do Y\. Next attempt in 1m 0s\./,
  );
  assert.match(textOf(failed), /valid until 1970-01-02, from ca; not renewed: Cannot get one/);
  assert.match(textOf({ notAfterMs: -1 }), /certificate expired on/);
  assert.ok(!textOf({ ...failed, lastError: '\x1b[2J' }).includes('\x1b'));
});

test('--watch shows clients that come and go, with rates', async (t) => {
  const folder = await emptyFolder(t);
  const stop = new AbortController();
  const seen: string[] = [];
  const print = (line: string) => {
    seen.push(line);
    if (seen.length === 1) void openSocket(t, folder, clientStatus({ pid: process.pid, tunnels: [tunnelStatus()] }));
    if (line.includes('IN/S')) stop.abort();
  };
  assert.equal(await runStatus({ folder, watch: true, watchEveryMs: 20, signal: stop.signal }, { print }), 0);
  assert.match(seen[0] ?? '', /^Cannot show a status: no client of this user is running/);
  assert.match(seen.at(-1) ?? '', /FAILURES {2}IN\/S +OUT\/S\n.* 0 {9}0 B/);
});
