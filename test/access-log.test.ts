/** What stands in the access logs of a relay and of a client after real visits. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer } from 'node:http';
import { get } from 'node:https';
import type { AddressInfo } from 'node:net';
import * as path from 'node:path';
import { type TestContext, test } from 'node:test';
import { APP, appTunnel, startAppTunnel } from './support/carry.js';
import { homeCertificate, VAULT, vaultTunnel } from './support/home-tls.js';
import { startTcpTunnel, talkTcp } from './support/tcp-tunnel.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { until } from './support/within.js';
import { RelayHome, type RunningRelay } from './support/world.js';

async function startOrigin(t: TestContext): Promise<string> {
  const origin = createServer((_request, response) => response.end('hello'));
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  t.after(() => void origin.close());
  return `127.0.0.1:${(origin.address() as AddressInfo).port}`;
}

async function visit(relay: RunningRelay, target: string, host = APP, ca = relay.home.ca): Promise<string> {
  const where = { host: '127.0.0.1', port: relay.port('https'), servername: host, ca, agent: false as const };
  const request = get({ ...where, path: target, headers: { host, 'user-agent': 'test' } });
  const [response] = await once(request, 'response');
  response.resume();
  await once(response, 'end');
  return String(response.headers['x-request-id'] ?? '');
}

type Line = Readonly<Record<string, unknown>>;

function linesOf(file: string, count: number): Promise<readonly Line[]> {
  return until(`${count} lines`, async () => {
    const lines = fs.existsSync(file) ? fs.readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
    return lines.length < count ? undefined : lines.map((line) => JSON.parse(line) as Line);
  });
}

test('relay: each request has a line, but for the paths that are to be left out, and after a reload too', async (t) => {
  const yaml = 'access_log: { to: file, skip_paths: [/healthz, /assets/*] }';
  const relay = await startAppTunnel(t, `http://${await startOrigin(t)}`, { yaml });
  const { accessLog } = relay.home.config;
  await visit(relay, '/healthz?x');
  await visit(relay, '/assets/a.js');
  await visit(relay, '/a?token=s3cret');
  const [line] = await linesOf(accessLog.file, 1);
  const known = { kind: 'http', visitor: '127.0.0.1', tunnel: 'app', public: APP, method: 'GET', status: 200 };
  assert.deepEqual({ ...line, ...known }, line);
  assert.deepEqual([line?.path, line?.bytesOut, line?.userAgent], ['/a?token=-', 5, 'test']);
  assert.match(String(line?.requestId), /^[0-9a-f]{20}$/);
  fs.renameSync(accessLog.file, `${accessLog.file}.moved`);
  await relay.relay.reload(relay.home.config);
  await visit(relay, '/b');
  assert.equal((await linesOf(accessLog.file, 1))[0]?.path, '/b');
  const off = await relay.relay.reload({ ...relay.home.config, accessLog: { ...accessLog, to: 'off' } });
  assert.deepEqual(off.applied, ['access_log']);
  await visit(relay, '/c');
  await relay.relay.close();
  assert.equal((await linesOf(accessLog.file, 1)).length, 1);
});

test('raw TCP: each connection has a line with its bytes and how it ended', async (t) => {
  const { createServer: createTcp } = await import('node:net');
  const echo = createTcp({ allowHalfOpen: true }, (socket) => {
    // The second visitor breaks off.
    socket.on('error', () => {});
    socket.pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(echo, 'listening');
  t.after(() => void echo.close());
  const origin = `tcp://127.0.0.1:${(echo.address() as AddressInfo).port}`;
  const { relay, port, client } = await startTcpTunnel(t, origin, '', { yaml: 'access_log: { to: file }' });
  const conversation = await talkTcp(t, port);
  conversation.socket.end('four');
  await once(conversation.socket.resume(), 'close');
  const { file } = relay.home.config.accessLog;
  const [line] = await linesOf(file, 1);
  const { kind, tunnel, public: address, bytesIn, bytesOut, code } = line ?? {};
  assert.deepEqual([kind, tunnel, address, bytesIn, bytesOut, code], ['tcp', 'raw', `:${port}`, 4, 4, undefined]);
  const broken = await talkTcp(t, port);
  broken.socket.write('x');
  await once(broken.socket, 'data');
  broken.socket.resetAndDestroy();
  const [, second] = await linesOf(file, 2);
  assert.equal(second?.code, 'STREAM_RESET');
  client.client.close();
});

test('end-to-end: the client logs the request, the relay the connection and nothing of what is in it', async (t) => {
  const certificate = await homeCertificate(t);
  const relay = await new RelayHome(t, { yaml: 'access_log: { to: file }' }).start(t);
  const atHome = path.join(temporaryFolder(t), 'access.log');
  const origin = `http://${await startOrigin(t)}`;
  const yaml = `access_log: { to: file, file: ${atHome}, query: none }`;
  await relay.client(t, [vaultTunnel(origin, certificate), appTunnel(origin)], { yaml });
  await visit(relay, '/secret?x=1', VAULT, certificate.ca);
  await visit(relay, '/seen-by-relay');
  const [line] = await linesOf(atHome, 1);
  assert.deepEqual([line?.visitor, line?.tunnel, line?.public, line?.path], ['127.0.0.1', 'vault', VAULT, '/secret']);
  const { file } = relay.home.config.accessLog;
  const [carried, seen] = [...(await linesOf(file, 2))].sort((one) => (one.kind === 'tls' ? -1 : 1));
  assert.deepEqual([carried?.kind, carried?.public, seen?.path], ['tls', VAULT, '/seen-by-relay']);
  assert.ok(Number(carried?.bytesOut) > 500);
  assert.ok(!fs.readFileSync(file, 'utf8').includes('secret'));
  assert.equal((await linesOf(atHome, 1)).length, 1);
});
