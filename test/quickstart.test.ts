/** `npm start`: what a stranger gets from a fresh clone, what stays the same, and what is left when it ends. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { get } from 'node:https';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import { choosePorts } from '../relay-server/quickstart/choose-ports.js';
import { requireTool } from './support/require-tool.js';
import { allGone, RunningQuickstart } from './support/running-quickstart.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';
import { within } from './support/within.js';

/** Takes a port on loopback; when somebody else has it already, that is as good. */
async function take(t: TestContext, port: number): Promise<Server> {
  const server = createServer();
  t.after(() => void server.close());
  const taken = new Promise((resolve) => server.once('listening', resolve).once('error', resolve));
  server.listen(port, '127.0.0.1');
  await taken;
  return server;
}

async function fetchFrom(quickstart: RunningQuickstart, path: string): Promise<IncomingMessage> {
  const [response] = await once(get(new URL(path, quickstart.url), quickstart.visitor), 'response');
  return response;
}

test('one start serves curl, pages, WebSockets and events at the printed URL, and Ctrl-C ends all of it', async (t) => {
  const [wished] = await choosePorts([[8443]]);
  const quickstart = await RunningQuickstart.start(t, temporaryFolder(t));
  assert.match(quickstart.url.hostname, /\.localhost$/);
  if (wished === 8443) assert.equal(quickstart.url.port, '8443');
  assert.match(quickstart.text, /Checked: 200 OK in \d+ ms/);

  const page = await fetchFrom(quickstart, '/');
  assert.equal(page.statusCode, 200);
  page.resume();

  const echo = new WebSocket(new URL('/ws', quickstart.url), quickstart.visitor);
  await once(echo, 'open');
  echo.send('over the wall');
  const [message] = await once(echo, 'message');
  assert.equal(String(message), 'over the wall');

  const events = await fetchFrom(quickstart, '/events');
  events.on('error', () => {});
  const [event] = await once(events, 'data');
  assert.match(String(event), /^id: 1\ndata: /);

  const gone = [once(echo, 'close'), new Promise((resolve) => events.once('close', resolve))];
  assert.equal(await quickstart.end('SIGINT'), 0);
  await within('visitors are gone', Promise.all(gone));
});

test('every command that it prints works as printed', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const quickstart = await RunningQuickstart.start(t, temporaryFolder(t));
  const visit = await quickstart.shell(t, quickstart.printed('curl --cacert'));
  assert.equal(visit.code, 0, visit.stderr);
  assert.match(visit.stdout, /<h1>Your tunnel works<\/h1>/);
  for (const command of [quickstart.printed('node '), quickstart.printed('XDG_RUNTIME_DIR')]) {
    const status = await quickstart.shell(t, command);
    assert.equal(status.code, 0, status.stderr);
    assert.match(status.stdout, /hello +online/);
  }
  assert.equal(await quickstart.end('SIGTERM'), 0);
});

test('taken ports are left to their owners, and the second start has the same URL and CA', async (t) => {
  const folder = temporaryFolder(t);
  const taken = [await take(t, 8443), await take(t, 8080)];
  const first = await RunningQuickstart.start(t, folder);
  const { url, ca } = first;
  assert.notEqual(url.port, '8443');
  assert.equal(await first.end('SIGINT'), 0);
  for (const server of taken) server.close();
  const second = await RunningQuickstart.start(t, folder);
  assert.equal(second.url.href, url.href);
  assert.equal(second.ca, ca);
  assert.match(second.text, /Checked: 200 OK/);
  assert.equal(await second.end('SIGHUP'), 0);
});

test('it writes only under .sallyport, and mends what somebody broke there', async (t) => {
  const folder = temporaryFolder(t);
  const first = await RunningQuickstart.start(t, folder);
  assert.equal(await first.end('SIGINT'), 0);
  assert.deepEqual(readdirSync(folder), ['.sallyport']);
  assert.equal(modeOf(join(folder, '.sallyport')), '700');
  assert.equal(modeOf(join(folder, '.sallyport/token')), '600');
  rmSync(join(folder, '.sallyport/token'));
  writeFileSync(join(folder, '.sallyport/relay.yaml'), 'listen: [');
  const second = await RunningQuickstart.start(t, folder);
  assert.match(second.text, /Checked: 200 OK/);
  assert.equal(second.ca, first.ca);
});

test('when a program ends by itself, it says which and why, and everything ends with its code', async (t) => {
  const quickstart = await RunningQuickstart.start(t, temporaryFolder(t));
  const { pids } = quickstart;
  process.kill(quickstart.pidOf('relay'), 'SIGKILL');
  assert.equal(await within('quickstart ends', quickstart.process.closed), 137);
  assert.match(quickstart.text, /quickstart: relay ended with SIGKILL\..* Its log: \.sallyport\/relay\.log$/);
  await allGone(pids);
});

test('nothing stays behind when the quickstart itself is killed', async (t) => {
  const quickstart = await RunningQuickstart.start(t, temporaryFolder(t));
  const { pids } = quickstart;
  quickstart.process.child.kill('SIGKILL');
  await allGone(pids);
});
