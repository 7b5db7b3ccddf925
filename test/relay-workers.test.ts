/** A relay with TLS workers: whichever of them a visitor meets, it is the same relay. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { WorkerStatus } from '../relay-server/ops/relay-status.js';
import { parseRelayConfig } from '../relay-server/relay-config.js';
import { workersFor } from '../relay-server/workers/tls-workers.js';
import { APP, appTunnel, connectVisitor, talkToRelay } from './support/carry.js';
import { Conversation } from './support/conversation.js';
import { ask, VisitorConnection } from './support/fault-visitor.js';
import { startVault, VAULT } from './support/home-tls.js';
import { visitHome } from './support/home-visitor.js';
import { askOver, http2Visitor } from './support/http2-visitor.js';
import { startHttpOrigin, startRawOrigin } from './support/origins.js';
import { clientHello, connectFrom } from './support/raw-tls.js';
import { requireTool } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';
import { runTool } from './support/tool-process.js';
import { echo, openWebSocket, startWebSocketOrigin } from './support/web-socket-origin.js';
import { until, within } from './support/within.js';
import { DOMAIN, RelayHome, type RunningRelay } from './support/world.js';

const WORKERS = 2;
/** Of a client. */
const LINKS = 2;
const YAML = `workers: ${WORKERS}`;
const GET = `GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`;

/** Resolves once every worker takes visitors: until then the relay's own process serves them. */
async function workersOf(relay: RunningRelay): Promise<readonly WorkerStatus[]> {
  return until('workers', () => {
    const { workers = [] } = relay.relay.status();
    return workers.length === WORKERS ? workers : undefined;
  });
}

async function startWithWorkers(t: TestContext, origin: string, yaml = ''): Promise<RunningRelay> {
  const home = new RelayHome(t, { yaml: `${YAML}\n${yaml}`, http2: 'on' });
  const relay = await home.start(t);
  await workersOf(relay);
  await relay.client(t, [appTunnel(origin)]);
  return relay;
}

/** Visitors of each worker, the fewest first. */
function visitorsOf(relay: RunningRelay): number[] {
  const { workers = [] } = relay.relay.status();
  return workers.map(({ visitors }) => visitors).sort((one, other) => one - other);
}

/** Resolves once the workers have no visitors but so many. */
async function nobodyLeft(relay: RunningRelay, but: number): Promise<void> {
  await until('end of all visitors', () => (sumOf(visitorsOf(relay)) === but ? true : undefined));
}

function sumOf(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Payload bytes that the tunnel has carried to visitors. */
function bytesOut(relay: RunningRelay): number {
  return relay.relay.status().tunnels[0]?.bytesOut ?? 0;
}

test('visitors are spread over all workers, and each of them reaches the tunnel with its own address', async (t) => {
  const seen: IncomingHttpHeaders[] = [];
  const origin = await startHttpOrigin(t, (request, response) => {
    seen.push(request.headers);
    response.end('hello');
  });
  const relay = await startWithWorkers(t, origin.url);
  assert.equal(sumOf(visitorsOf(relay)), LINKS, 'the links of the client came through workers as well');
  const addresses = ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5'];
  for (const localAddress of addresses) {
    const visitor = new Conversation(await connectFrom(t, relay, localAddress));
    visitor.send(GET, GET);
    assert.equal((await visitor.response()).body, 'hello');
    assert.equal((await visitor.response()).body, 'hello');
  }
  assert.deepEqual(visitorsOf(relay), [3, 3]);
  assert.deepEqual([...new Set(seen.map((headers) => headers['x-forwarded-for']))], addresses);
  assert.equal(relay.relay.status().sessions[0]?.clientAddress, '127.0.0.1');
});

test('HTTP/2, WebSocket and end-to-end TLS work through workers', async (t) => {
  const sockets = await startWebSocketOrigin(t);
  sockets.server.on('request', (_request, response) => response.end('page'));
  const relay = await startWithWorkers(t, sockets.url);
  const session = await http2Visitor(t, relay);
  const answers = await Promise.all([1, 2, 3].map(() => askOver(session, { ':path': '/' })));
  assert.deepEqual(
    answers.map(({ status, body }) => [status, body]),
    [1, 2, 3].map(() => [200, 'page']),
  );
  const accepted = sockets.accepted();
  const socket = await openWebSocket(t, relay);
  echo(await accepted);
  const large = Buffer.alloc(300_000, 'x');
  socket.send(large);
  const [message] = await once(socket, 'message');
  assert.ok(large.equals(message));

  const home = await startHttpOrigin(t, (_request, response) => response.end('at home'));
  const vault = await startVault(t, home.url, { yaml: YAML });
  await workersOf(vault.relay);
  const { body } = await visitHome(vault.relay.port('https'), vault.certificate.ca, '/', VAULT);
  assert.equal(body, 'at home');
});

test('a large body passes back-pressure in both directions whole', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => void request.pipe(response));
  const relay = await startWithWorkers(t, origin.url);
  const body = 'abcdefgh'.repeat(1 << 20);
  const site = { host: APP, port: relay.port('https'), ca: relay.home.ca };
  const answer = await ask(site, { method: 'POST', body });
  assert.equal(answer.complete, true);
  assert.ok(answer.body === body);
});

test('a visitor resumes its TLS session at any worker', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end());
  const relay = await startWithWorkers(t, origin.url);
  const first = await connectVisitor(t, relay);
  const [session] = await once(first, 'session');
  const later: TLSSocket[] = [];
  for (let count = 0; count < WORKERS; count += 1) later.push(await connectVisitor(t, relay, { session }));
  assert.deepEqual(
    later.map((visitor) => visitor.isSessionReused()),
    [true, true],
  );
});

test('a response that only its end delimits does not look complete when it breaks off', async (t) => {
  const openssl = requireTool(t, 'openssl', 'openssl');
  if (openssl === undefined) return;
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      const head = await connection.until('\r\n\r\n');
      connection.send('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf');
      if (head.startsWith('GET /whole')) connection.socket.end();
      else await connection.until('go on');
    },
  });
  const relay = await startWithWorkers(t, `http://127.0.0.1:${origin.port}`);
  const where = ['-connect', `127.0.0.1:${relay.port('https')}`, '-servername', APP, '-quiet', '-verify_quiet'];
  const visit = async (path: string) => {
    const request = `GET ${path} HTTP/1.0\r\nHost: ${APP}\r\n\r\n`;
    const { stdout, stderr } = await runTool(t, openssl, ['s_client', ...where], request);
    assert.match(stdout, /half$/);
    return stderr.includes('unexpected eof');
  };
  assert.equal(await visit('/whole'), false);
  const before = bytesOut(relay);
  const broken = visit('/broken');
  const { socket } = await origin.connection(1);
  // Not before the relay has the beginning: a reset may overtake it.
  await until('beginning at the relay', () => (bytesOut(relay) > before ? true : undefined));
  socket.resetAndDestroy();
  assert.equal(await broken, true);
  await nobodyLeft(relay, LINKS);
});

test('a visitor who keeps its side open is let go when the origin cuts the connection', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      await connection.until('\r\n\r\n');
      connection.send('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
    },
  });
  const relay = await startWithWorkers(t, `http://127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(GET);
  await visitor.until('half');
  (await origin.connection(0)).socket.resetAndDestroy();
  await nobodyLeft(relay, LINKS);
});

test('a visitor who leaves is gone at the origin, however it leaves', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => void response.write('beginning'));
  const relay = await startWithWorkers(t, origin.url);
  const site = { host: APP, port: relay.port('https'), ca: relay.home.ca };
  for (const how of ['end', 'reset'] as const) {
    const asked = once(origin.server, 'request');
    const visitor = await VisitorConnection.open(t, site);
    visitor.get(site, '/');
    const [request] = await asked;
    await visitor.received('beginning');
    visitor.leave(how);
    const closed = new Promise((resolve) => request.once('close', resolve));
    request.on('error', () => {});
    await within(`${how} at the origin`, closed);
  }
});

test('a certificate that is replaced is what the workers show next', async (t) => {
  const folder = temporaryFolder(t);
  const ca = await TestCa.make();
  const write = async () => {
    const { key, cert } = await ca.issue(DOMAIN);
    writeFileSync(join(folder, 'key.pem'), key);
    writeFileSync(join(folder, 'cert.pem'), cert);
  };
  await write();
  const files = `{ cert_file: ${join(folder, 'cert.pem')}, key_file: ${join(folder, 'key.pem')} }`;
  const home = new RelayHome(t, { yaml: `${YAML}\ntls: { mode: files, certificates: [${files}] }` });
  const relay = await home.start(t);
  await workersOf(relay);
  const shown = async () => {
    const options = { host: '127.0.0.1', port: relay.port('https'), servername: DOMAIN, ca: ca.certPem };
    const socket = connectTls(options);
    t.after(() => void socket.destroy());
    await once(socket, 'secureConnect');
    assert.ok(visitorsOf(relay).some((count) => count > 0));
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    await nobodyLeft(relay, 0);
    return fingerprint256;
  };
  const before = await shown();
  assert.equal(await shown(), before);
  await write();
  await relay.relay.reload();
  const after = [await shown(), await shown()];
  assert.notEqual(after[0], before);
  assert.equal(after[1], after[0]);
});

test('an unknown name, a slow hello and a handshake that fails end as they do in one process', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end());
  const yaml = 'limits: { client_hello_timeout: 300ms, tls_handshake_timeout: 300ms }';
  const relay = await startWithWorkers(t, origin.url, yaml);
  const failed = () => Number(/handshakes_total\{result="failed"\} (\d+)/.exec(relay.relay.metrics())?.[1]);
  await assert.rejects(connectVisitor(t, relay, { servername: 'evil.example.com' }), {
    code: 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME',
  });
  await assert.rejects(connectVisitor(t, relay, { ALPNProtocols: ['nothing'] }), {
    code: 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL',
  });
  await until('a failed handshake', () => (failed() === 1 ? true : undefined));
  const hello = await clientHello(t, APP);
  for (const bytes of [hello, hello.subarray(0, 20)]) {
    const socket = connectTcp(relay.port('https'), '127.0.0.1');
    socket.on('error', () => {});
    t.after(() => void socket.destroy());
    socket.write(bytes);
    socket.resume();
    await within('end of a silent visitor', once(socket, 'close'));
  }
  await until('two failed handshakes', () => (failed() === 2 ? true : undefined));
});

test('limits per address count visitors of all workers together, and give back what ends', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end());
  const relay = await startWithWorkers(t, origin.url, 'limits: { connections_per_ip: 3 }');
  const localAddress = '127.0.0.9';
  const visitors = [];
  for (let count = 0; count < 3; count += 1) visitors.push(await connectFrom(t, relay, localAddress));
  await assert.rejects(connectFrom(t, relay, localAddress));
  visitors[0]?.destroy();
  await until('a place', () => connectFrom(t, relay, localAddress).catch(() => undefined));
});

test('a proxy with a PROXY header names the visitor', async (t) => {
  const seen: unknown[] = [];
  const origin = await startHttpOrigin(t, (request, response) => {
    seen.push(request.headers['x-forwarded-for']);
    response.end();
  });
  const yaml = 'proxy_protocol: true\ntrusted_proxies: ["127.0.0.8"]';
  const relay = await startWithWorkers(t, origin.url, yaml);
  const tcp = connectTcp({ port: relay.port('https'), host: '127.0.0.1', localAddress: '127.0.0.8' });
  t.after(() => void tcp.destroy());
  tcp.write('PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n');
  const socket = connectTls({ socket: tcp, servername: APP, ca: relay.home.ca });
  await once(socket, 'secureConnect');
  socket.write(GET);
  await once(socket, 'data');
  assert.deepEqual(seen, ['203.0.113.7']);
});

test('one process needs no workers, and auto starts some only where cores are left for them', () => {
  const cases = [
    [1, 8, 0],
    [2, 1, 2],
    [5, 2, 5],
    ['auto', 1, 0],
    ['auto', 2, 0],
    ['auto', 3, 2],
    ['auto', 8, 7],
  ] as const;
  for (const [count, cores, workers] of cases) assert.equal(workersFor(count, cores), workers, `${count} on ${cores}`);
});

test('workers must be a number of processes, or auto', () => {
  const read = (workers: string) =>
    parseRelayConfig(`domain: example.com\nworkers: ${workers}\n`, 'relay.yaml').workers;
  assert.deepEqual([read('1'), read('4'), read('auto')], [1, 4, 'auto']);
  for (const wrong of ['0', '65', 'off', '"2"', 'true']) {
    assert.throws(() => read(wrong), { code: 'CONFIG_INVALID' }, wrong);
  }
});
