/** tls: end-to-end: the client ends the visitor's TLS and serves HTTP as the relay does for its own. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import { readProxyHeader } from '../shared/proxy-protocol.js';
import { Conversation } from './support/conversation.js';
import {
  curlOptions,
  type HomeTlsWorld,
  homeCertificate,
  startVault,
  VAULT,
  vaultTunnel,
  vaultUrl,
} from './support/home-tls.js';
import { startHttpOrigin, startRawOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool } from './support/tool-process.js';
import { echo, startWebSocketOrigin } from './support/web-socket-origin.js';
import { until, within } from './support/within.js';
import { RelayHome } from './support/world.js';

/** A visitor's TLS connection to VAULT, which trusts the CA of home alone. */
async function visit(t: TestContext, world: HomeTlsWorld, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const { relay, certificate } = world;
  const where = { host: '127.0.0.1', port: relay.port('https'), servername: VAULT, ca: certificate.ca };
  const socket = connect({ ...where, allowHalfOpen: true, ...options } as ConnectionOptions);
  t.after(() => void socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: ${VAULT}\r\n${more}\r\n`;

async function startEcho(t: TestContext) {
  return startHttpOrigin(t, (request, response) => {
    const hash = createHash('sha256');
    request.on('data', (piece) => hash.update(piece));
    request.on('end', () => response.end(JSON.stringify({ headers: request.headers, sha256: hash.digest('hex') })));
  });
}

test('curl with the CA of home fetches and uploads, and the origin is told who visits', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const world = await startVault(t, (await startEcho(t)).url);
  const body = randomBytes(3_000_000);
  const file = join(temporaryFolder(t), 'body');
  writeFileSync(file, body);
  const options = curlOptions(world.relay, world.certificate);
  const spoofed = ['-H', 'X-Forwarded-For: 6.6.6.6', '-H', 'Forwarded: for=6.6.6.6'];
  const args = [...options, ...spoofed, '--data-binary', `@${file}`, vaultUrl(world.relay, '/upload?x=1')];
  const { code, stdout, stderr } = await runTool(t, curl, args);
  assert.equal(code, 0, stderr);
  const { headers, sha256 } = JSON.parse(stdout);
  assert.equal(sha256, createHash('sha256').update(body).digest('hex'));
  const authority = `${VAULT}:${world.relay.port('https')}`;
  assert.equal(headers.host, authority);
  assert.equal(headers['x-forwarded-for'], '127.0.0.1');
  assert.equal(headers['x-real-ip'], '127.0.0.1');
  assert.equal(headers['x-forwarded-proto'], 'https');
  assert.equal(headers['x-forwarded-host'], authority);
  assert.equal(headers.forwarded, `for=127.0.0.1;proto=https;host="${authority}"`);
  assert.match(headers['x-request-id'], /^[0-9a-f]{20}$/);
});

test('the certificate that visitors see is that of home, and the relay never had one for the name', async (t) => {
  const world = await startVault(t, (await startEcho(t)).url);
  const socket = await visit(t, world);
  assert.equal(socket.authorized, true);
  assert.deepEqual(
    world.relay.relay.status().certificates.map(({ name }) => name),
    ['relay.localhost'],
  );
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`${version} is spoken at home, and a session of it can be resumed`, async (t) => {
    const world = await startVault(t, (await startEcho(t)).url);
    const options = { minVersion: version, maxVersion: version };
    const first = await visit(t, world, options);
    const sessions: Buffer[] = [];
    first.on('session', (session) => sessions.push(session));
    const conversation = new Conversation(first);
    first.write(get('/'));
    assert.equal((await conversation.response()).status, 200);
    // TLS 1.2 has it from its handshake on, TLS 1.3 sends it later.
    const early = version === 'TLSv1.2' ? first.getSession() : undefined;
    const session = early ?? (await until('session ticket', () => sessions.at(-1)));
    const second = await visit(t, world, { ...options, session });
    assert.equal(second.isSessionReused(), true);
    second.write(get('/'));
    assert.equal((await new Conversation(second).response()).status, 200);
  });
}

test('requests of one connection share a connection to the origin, and pipelined ones are answered in turn', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => response.end(request.url));
  const world = await startVault(t, origin.url);
  const socket = await visit(t, world);
  const conversation = new Conversation(socket);
  socket.write(get('/1') + get('/2') + get('/3'));
  const bodies = [await conversation.response(), await conversation.response(), await conversation.response()];
  assert.deepEqual(
    bodies.map(({ body }) => body),
    ['/1', '/2', '/3'],
  );
  assert.equal(origin.connections, 1);
});

test('100-continue, an interim response and trailers pass', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      await connection.until('Expect: 100-continue\r\n');
      connection.socket.write('HTTP/1.1 100 Continue\r\n\r\n');
      await connection.until('body!');
      connection.socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n');
      connection.socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n');
    },
  });
  const world = await startVault(t, `http://127.0.0.1:${origin.port}`);
  const socket = await visit(t, world);
  const conversation = new Conversation(socket);
  socket.write(`POST / HTTP/1.1\r\nHost: ${VAULT}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n`);
  assert.equal((await conversation.response()).status, 100);
  socket.write('body!');
  assert.equal((await conversation.response()).status, 103);
  const final = await conversation.response();
  assert.deepEqual([final.status, final.body, final.trailers.trim()], [200, 'ok', 'X-Sum: 1']);
});

test('a WebSocket carries messages of all sizes both ways and closes with its code', async (t) => {
  const origin = await startWebSocketOrigin(t);
  const world = await startVault(t, origin.url);
  const createConnection = () =>
    connect({ host: '127.0.0.1', port: world.relay.port('https'), servername: VAULT, ca: world.certificate.ca });
  const accepted = origin.accepted();
  const socket = new WebSocket(`wss://${VAULT}/socket`, { createConnection, perMessageDeflate: false });
  t.after(() => socket.terminate());
  await once(socket, 'open');
  echo(await accepted);
  for (const size of [0, 1, 125, 70_000, 2_000_000]) {
    const message = randomBytes(size);
    const answer = once(socket, 'message');
    socket.send(message);
    assert.ok(message.equals((await answer)[0] as Buffer), `${size} bytes`);
  }
  const closed = once(socket, 'close');
  (await accepted).close(4001, 'bye');
  const [code, reason] = await within('close', closed);
  assert.deepEqual([code, String(reason)], [4001, 'bye']);
});

test('an origin that is down is told by a page of the client, and the connection lives on', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end());
  const world = await startVault(t, 'http://127.0.0.1:1');
  origin.server.close();
  const socket = await visit(t, world);
  const conversation = new Conversation(socket);
  for (let time = 0; time < 2; time += 1) {
    socket.write(get('/', 'Accept: application/json\r\n'));
    const response = await conversation.response();
    assert.deepEqual([response.status, response.field('x-sallyport-error')], [502, 'ORIGIN_REFUSED']);
  }
  assert.equal(world.client.client.status().tunnels[0]?.failures, 2);
});

test('response_timeout and host_header are applied at home', async (t) => {
  let host = '';
  const origin = await startHttpOrigin(t, (request) => {
    host = request.headers.host ?? '';
  });
  const world = await startVault(t, origin.url, { tunnel: 'response_timeout: 300ms, host_header: inside.lan' });
  const socket = await visit(t, world);
  socket.write(get('/'));
  const response = await new Conversation(socket).response();
  assert.deepEqual([response.status, response.field('x-sallyport-error'), host], [504, 'ORIGIN_TIMEOUT', 'inside.lan']);
});

test('a Host of another hostname, a bad head and a smuggled length are refused as at the relay', async (t) => {
  const world = await startVault(t, (await startEcho(t)).url);
  const cases: [request: string, status: number][] = [
    ['GET / HTTP/1.1\r\nHost: app.relay.localhost\r\n\r\n', 421],
    [`GET / HTTP/1.1\r\nHost: ${VAULT}\r\nHost: ${VAULT}\r\n\r\n`, 400],
    [`POST / HTTP/1.1\r\nHost: ${VAULT}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
    [`GET / HTTP/1.1\r\nHost: ${VAULT}\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
  ];
  for (const [request, status] of cases) {
    const socket = await visit(t, world);
    socket.write(request);
    assert.equal((await new Conversation(socket).response()).status, status, request.slice(0, 60));
  }
});

test('PROXY protocol tells the origin the visitor and the TLS that home agreed on', async (t) => {
  const origin = await startRawOrigin(t);
  const world = await startVault(t, `http://127.0.0.1:${origin.port}`, { tunnel: 'proxy_protocol: v2' });
  const socket = await visit(t, world);
  const { localPort } = socket;
  socket.write(get('/'));
  const connection = await origin.connection(0);
  await within(
    'request',
    connection.until('GET / HTTP/1.1').then((start) => {
      const read = readProxyHeader(Buffer.from(start, 'latin1'));
      assert.ok(read.kind === 'header');
      assert.deepEqual([read.header.sourceAddress, read.header.sourcePort], ['127.0.0.1', localPort]);
      assert.ok(start.includes(VAULT) && start.includes('TLSv1.3') && start.includes('http/1.1'));
    }),
  );
  socket.destroy();
});

test('a long answer on a closing connection reaches a visitor who reads slowly', async (t) => {
  const size = 3_000_000;
  const origin = await startHttpOrigin(t, (_request, response) => response.end(Buffer.alloc(size, 'x')));
  const world = await startVault(t, origin.url);
  const socket = await visit(t, world);
  let received = 0;
  socket.write(get('/', 'Connection: close\r\n'));
  await once(socket, 'readable');
  // Longer than anybody lingers behind an answer.
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  socket.on('data', (piece: Buffer) => {
    received += piece.length;
  });
  await within('end of the answer', once(socket, 'end'));
  assert.ok(received > size, `received ${received}`);
});

test('a visitor who leaves frees the origin', async (t) => {
  const origin = await startRawOrigin(t);
  const world = await startVault(t, `http://127.0.0.1:${origin.port}`);
  const socket = await visit(t, world);
  socket.write(get('/'));
  const connection = await origin.connection(0);
  await connection.until('\r\n\r\n');
  socket.destroy();
  await within('end of the origin connection', connection.closed);
  await until('no stream', () => (world.client.client.status().tunnels[0]?.openStreams === 0 ? true : undefined));
});

test('a visitor who half-closes behind a complete request meets an end as at the relay, never a reset', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => {
    if (request.url === '/slow') response.write('begun ');
    else response.end('at once');
  });
  const world = await startVault(t, origin.url);
  await world.relay.client(t, [`{ name: app, host: app.relay.localhost, origin: "${origin.url}" }`], {
    clientId: 'app',
  });
  const atRelay = { servername: 'app.relay.localhost', ca: world.relay.home.ca };
  for (const where of [{}, atRelay]) {
    const endings = [];
    for (let time = 0; time < 20; time += 1) {
      const socket = await visit(t, world, where);
      const host = where === atRelay ? atRelay.servername : VAULT;
      const conversation = new Conversation(socket);
      socket.end(`GET ${time % 2 === 0 ? '/slow' : '/'} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      endings.push(await within('end', conversation.ended()));
    }
    assert.deepEqual([...new Set(endings)], ['end'], endings.join(' '));
  }
  await until('no stream', () => (world.client.client.status().tunnels[0]?.openStreams === 0 ? true : undefined));
});

test('a certificate that does not cover the hostname stops the client', async (t) => {
  const relay = await new RelayHome(t).start(t);
  const other = await homeCertificate(t, 'other.relay.localhost');
  await assert.rejects(relay.client(t, [vaultTunnel('http://127.0.0.1:1', other)]), {
    code: 'CONFIG_INVALID',
    message: `Cannot serve tunnel vault: its certificate ${other.certFile} covers other.relay.localhost, not ${VAULT}. Name one that covers it.`,
  });
});

test('a wildcard tunnel serves every name below it with its wildcard certificate', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const certificate = await homeCertificate(t, '*.relay.localhost');
  const relay = await new RelayHome(t).start(t);
  const origin = await startHttpOrigin(t, (request, response) => response.end(request.headers.host));
  await relay.client(t, [vaultTunnel(origin.url, certificate, '', '*.relay.localhost')]);
  for (const host of ['a.relay.localhost', 'b.relay.localhost']) {
    const args = [...curlOptions(relay, certificate, host), vaultUrl(relay, '/', host)];
    const { stdout, stderr } = await runTool(t, curl, args);
    assert.equal(stdout, `${host}:${relay.port('https')}`, stderr);
  }
});

test('a drain lets the current answer finish and ends idle connections', async (t) => {
  let finish = () => {};
  const origin = await startHttpOrigin(t, (request, response) => {
    if (request.url === '/idle') response.end('idle');
    else finish = () => response.end('done');
  });
  const world = await startVault(t, origin.url);
  const [idle, busy] = await Promise.all([visit(t, world), visit(t, world)]);
  const [idleTalk, busyTalk] = [new Conversation(idle), new Conversation(busy)];
  idle.write(get('/idle'));
  assert.equal((await idleTalk.response()).body, 'idle');
  const asked = once(origin.server, 'request');
  busy.write(get('/busy'));
  await asked;
  const drained = world.client.client.drain();
  assert.equal(await within('end of the idle connection', idleTalk.ended()), 'end');
  idle.end();
  finish();
  assert.equal((await busyTalk.response()).body, 'done');
  busy.end();
  await within('drain', drained);
});
