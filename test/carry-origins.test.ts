/** Every kind of origin that tunnel.yaml can name, and what a tunnel can ask for on the way to it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { freePort } from '../bench/free-port.js';
import { readProxyHeader } from '../shared/proxy-protocol.js';
import { APP, appTunnel, startAppTunnel, talkToRelay } from './support/carry.js';
import type { RawResponse } from './support/conversation.js';
import { startNginx } from './support/nginx.js';
import { endConnections, listen, startHttpOrigin, startRawOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { type IssuedCertificate, TestCa } from './support/test-ca.js';
import { runTool } from './support/tool-process.js';
import { RelayHome, RunningProgram, type RunningRelay, TUNNEL_PROGRAM, writeTunnelConfig } from './support/world.js';

const ca = await TestCa.make();

interface TlsOrigin {
  readonly port: number;
  /** Requests that it got so far. */
  readonly requests: number;
}

/** An https origin with this certificate; it answers with the name that it was asked for in the handshake. */
async function startTlsOrigin(t: TestContext, { key, cert }: IssuedCertificate): Promise<TlsOrigin> {
  const origin = { port: 0, requests: 0 };
  const server = createHttpsServer({ key, cert }, (request, response) => {
    origin.requests += 1;
    const { servername, alpnProtocol } = request.socket as TLSSocket;
    response.end(`${servername} ${alpnProtocol} ${request.headers['x-forwarded-proto']}`);
  });
  server.on('tlsClientError', () => {});
  endConnections(t, server);
  origin.port = await listen(t, server);
  return origin;
}

/** The response to a GET of the tunnel's front page. */
async function visit(t: TestContext, relay: RunningRelay, fields = ''): Promise<RawResponse> {
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET / HTTP/1.1\r\nHost: ${APP}\r\n${fields}\r\n`);
  return visitor.response();
}

/** A relay with a client that is a process of its own and trusts one more CA, the test's, beside the public ones. */
async function startTrustingTunnel(t: TestContext, origin: string, trusted = ca.certPem): Promise<RunningRelay> {
  const home = new RelayHome(t);
  const relay = await home.start(t);
  const folder = temporaryFolder(t);
  const caFile = join(folder, 'origin-ca.pem');
  writeFileSync(caFile, trusted);
  const config = writeTunnelConfig(folder, relay.port('https'), home, [appTunnel(origin)]);
  const env = { NODE_EXTRA_CA_CERTS: caFile, XDG_RUNTIME_DIR: folder };
  await new RunningProgram(t, TUNNEL_PROGRAM, ['up', '--json', '--config', config], env).line('"event":"up"');
  return relay;
}

test('an https origin with a trusted certificate for its name is served', async (t) => {
  const origin = await startTlsOrigin(t, await ca.issue('localhost'));
  const relay = await startTrustingTunnel(t, `https://localhost:${origin.port}`);
  assert.equal((await visit(t, relay)).body, 'localhost http/1.1 https');
});

test('an https origin at an address proves the public hostname', async (t) => {
  const origin = await startTlsOrigin(t, await ca.issue(APP));
  const relay = await startTrustingTunnel(t, `https://127.0.0.1:${origin.port}`);
  assert.equal((await visit(t, relay)).body, `${APP} http/1.1 https`);
});

test('an https origin at an address may also prove that address', async (t) => {
  const openssl = requireTool(t, 'openssl', 'openssl');
  if (openssl === undefined) return;
  const folder = temporaryFolder(t);
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const curve = [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    keyFile,
    '-out',
    certFile,
  ];
  const name = ['-subj', '/CN=nas', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
  await runTool(t, openssl, ['req', '-x509', ...curve, ...name]);
  const cert = readFileSync(certFile, 'utf8');
  const origin = await startTlsOrigin(t, { key: readFileSync(keyFile, 'utf8'), cert });
  const relay = await startTrustingTunnel(t, `https://127.0.0.1:${origin.port}`, cert);
  assert.equal((await visit(t, relay)).status, 200);
});

test('an https origin with the certificate of another name gets no request', async (t) => {
  const origin = await startTlsOrigin(t, await ca.issue('other.example.com'));
  const relay = await startTrustingTunnel(t, `https://localhost:${origin.port}`);
  const response = await visit(t, relay);
  assert.equal(response.status, 502);
  assert.equal(response.field('x-sallyport-error'), 'ORIGIN_TLS_FAILED');
  assert.equal(origin.requests, 0);
});

test('an https origin whose certificate nobody trusts gets a page that says so, and no request', async (t) => {
  const origin = await startTlsOrigin(t, await ca.issue('localhost'));
  const relay = await startAppTunnel(t, `https://localhost:${origin.port}`);
  const response = await visit(t, relay, 'Accept: text/html\r\n');
  assert.equal(response.status, 502);
  assert.equal(response.field('x-sallyport-error'), 'ORIGIN_TLS_FAILED');
  assert.equal(origin.requests, 0);
  assert.match(response.body, /could not prove who it is/);
  assert.doesNotMatch(response.body, new RegExp(`localhost:|${origin.port}`), 'nothing about the inside');
});

test('https+insecure takes any certificate', async (t) => {
  const origin = await startTlsOrigin(t, await ca.issue('other.example.com'));
  const relay = await startAppTunnel(t, `https+insecure://localhost:${origin.port}`);
  assert.equal((await visit(t, relay)).body, 'localhost http/1.1 https');
});

test('an https target whose origin speaks plain HTTP is ORIGIN_TLS_FAILED', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end());
  const relay = await startAppTunnel(t, `https+insecure://localhost:${origin.port}`);
  assert.equal((await visit(t, relay)).field('x-sallyport-error'), 'ORIGIN_TLS_FAILED');
});

test('an http target whose origin speaks TLS is no HTTP answer', async (t) => {
  const origin = await startTlsOrigin(t, await ca.issue('localhost'));
  const relay = await startAppTunnel(t, `http://localhost:${origin.port}`);
  const response = await visit(t, relay);
  assert.equal(response.status, 502);
  assert.match(response.field('x-sallyport-error') ?? '', /^ORIGIN_(INVALID|CLOSED)$/);
});

/** An HTTP origin on a unix socket. */
async function startSocketOrigin(t: TestContext, onRequest: RequestListener): Promise<string> {
  const path = join(temporaryFolder(t), 'origin.sock');
  const server = createServer(onRequest).listen(path);
  endConnections(t, server);
  t.after(() => server.close());
  await once(server, 'listening');
  return path;
}

test('a unix socket serves as origin, and one that is not there is ORIGIN_REFUSED', async (t) => {
  const path = await startSocketOrigin(t, (request, response) => response.end(`unix ${request.headers.host}`));
  const relay = await new RelayHome(t).start(t);
  const missing = `{ name: gone, host: gone.relay.localhost, origin: "unix:${path}.gone" }`;
  await relay.client(t, [appTunnel(`unix:${path}`), missing]);
  assert.equal((await visit(t, relay)).body, `unix ${APP}`);
  const other = await talkToRelay(t, relay, { servername: 'gone.relay.localhost' });
  other.send('GET / HTTP/1.1\r\nHost: gone.relay.localhost\r\n\r\n');
  const response = await other.response();
  assert.equal(response.status, 502);
  assert.equal(response.field('x-sallyport-error'), 'ORIGIN_REFUSED');
});

test('an origin where nobody listens is ORIGIN_REFUSED until somebody does', async (t) => {
  const port = await freePort();
  const relay = await startAppTunnel(t, `http://localhost:${port}`);
  const visitor = await talkToRelay(t, relay);
  const get = `GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`;
  visitor.send(get);
  assert.equal((await visitor.response()).field('x-sallyport-error'), 'ORIGIN_REFUSED');
  const server = createServer((_request, response) => response.end('up again')).listen(port, 'localhost');
  endConnections(t, server);
  t.after(() => server.close());
  await once(server, 'listening');
  visitor.send(get);
  assert.equal((await visitor.response()).body, 'up again');
});

test('host_header is what the origin sees as Host; X-Forwarded-Host stays the public name', async (t) => {
  const origin = await startHttpOrigin(t, ({ headers }, response) => {
    response.end(`${headers.host} ${headers['x-forwarded-host']}`);
  });
  const relay = await startAppTunnel(t, origin.url, { tunnel: 'host_header: "internal.lan:8080"' });
  assert.equal((await visit(t, relay)).body, `internal.lan:8080 ${APP}`);
});

test('an origin that does not begin its response within response_timeout is ORIGIN_TIMEOUT', async (t) => {
  const origin = await startRawOrigin(t);
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`, { tunnel: 'response_timeout: 300ms' });
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  const response = await visitor.response();
  assert.equal(response.status, 504);
  assert.equal(response.field('x-sallyport-error'), 'ORIGIN_TIMEOUT');
  // The origin learns that nobody waits any more, and the visitor may go on.
  assert.notEqual(await (await origin.connection(0)).ended(), undefined);
  visitor.send(`GET /again HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  const connection = await origin.connection(1);
  await connection.until('GET /again HTTP/1.1\r\n');
  connection.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  assert.equal((await visitor.response()).body, 'ok');
});

test('response_timeout is no limit for a response that has begun', async (t) => {
  const origin = await startRawOrigin(t);
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`, { tunnel: 'response_timeout: 200ms' });
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  const connection = await origin.connection(0);
  await connection.until('\r\n\r\n');
  connection.send('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl');
  await visitor.until('sl');
  // The silence is what is tested: several times the limit, and several looks at it.
  await new Promise((resolve) => setTimeout(resolve, 900));
  connection.send('ow');
  await visitor.until('ow');
});

for (const version of ['v1', 'v2']) {
  test(`nginx reads the visitor’s address from PROXY ${version}`, async (t) => {
    const nginx = requireTool(t, 'nginx', 'nginx-light');
    if (nginx === undefined) return;
    const socket = join(temporaryFolder(t), 'nginx.sock');
    const answer = '$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_port $uri';
    await startNginx(
      t,
      nginx,
      `server { listen unix:${socket} proxy_protocol; location / { return 200 "${answer}"; } }`,
    );
    const relay = await startAppTunnel(t, `unix:${socket}`, { tunnel: `proxy_protocol: ${version}` });
    const visitor = await talkToRelay(t, relay);
    const from = `127.0.0.1:${visitor.socket.localPort} ${relay.port('https')}`;
    for (const path of ['/first', '/second']) {
      visitor.send(`GET ${path} HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
      assert.equal((await visitor.response()).body, `${from} ${path}`);
    }
  });
}

test('the PROXY v2 header of an HTTP tunnel tells hostname, ALPN and TLS version, and nothing private', async (t) => {
  const origin = await startRawOrigin(t);
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`, { tunnel: 'proxy_protocol: v2' });
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  const connection = await origin.connection(0);
  const bytes = Buffer.from(await connection.until('GET / HTTP/1.1\r\n'), 'latin1');
  const read = readProxyHeader(bytes);
  assert.ok(read.kind === 'header');
  assert.equal(read.header.sourcePort, visitor.socket.localPort);
  const tlvs = new Map(read.header.tlvs.map(({ type, value }) => [type, value.toString('latin1')]));
  assert.equal(tlvs.get(0x02), APP);
  assert.equal(tlvs.get(0x01), 'http/1.1');
  assert.match(tlvs.get(0x20) ?? '', /TLSv1\.3$/);
  assert.ok(
    [...tlvs.keys()].every((type) => type < 0xe0),
    'private TLVs stay between relay and client',
  );
});

test('with PROXY towards a TLS origin the header comes before the handshake', async (t) => {
  const { key, cert } = await ca.issue('localhost');
  const inner = createHttpsServer({ key, cert }, (_request, response) => response.end('behind PROXY and TLS'));
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      const header = await connection.until('\r\n');
      assert.match(header, /^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+\r\n$/);
      handOver(connection.socket, connection.unread, inner);
    },
  });
  const relay = await startAppTunnel(t, `https+insecure://localhost:${origin.port}`, { tunnel: 'proxy_protocol: v1' });
  assert.equal((await visit(t, relay)).body, 'behind PROXY and TLS');
});

/** Gives a connection to a server that never listened, with bytes that were already read from it. */
function handOver(socket: Socket, read: string, server: ReturnType<typeof createHttpsServer>): void {
  socket.removeAllListeners('data');
  socket.pause();
  if (read !== '') socket.unshift(Buffer.from(read, 'latin1'));
  server.emit('connection', socket);
}
