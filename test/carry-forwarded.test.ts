/** What an origin is told about the visitor, and whom the relay believes about it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { freePort } from '../bench/free-port.js';
import { writeProxyV2 } from '../shared/proxy-protocol.js';
import { APP, appTunnel, startAppTunnel, talkToRelay } from './support/carry.js';
import { Conversation } from './support/conversation.js';
import { startNginx } from './support/nginx.js';
import { startHttpOrigin, startRawOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { startTcpProxy } from './support/tcp-proxy.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';
import { DOMAIN, RelayHome, type RunningRelay, startClient } from './support/world.js';

const TRUSTED = 'trusted_proxies: ["127.0.0.1/32"]';
const TRUSTED_WITH_HEADER = `proxy_protocol: true\n${TRUSTED}`;
const HOST = `Host: ${APP}\r\n`;
/** Everything by which a visitor could pretend to be us, and the ways in which CGI-like origins would misread it. */
const PRETENCES = [
  ...[
    'X-Forwarded-For: 6.6.6.6',
    'x-forwarded-for: 6.6.6.7',
    'X-Forwarded-Proto: gopher',
    'X-Forwarded-Host: evil.example',
  ],
  ...[
    'X-Forwarded-Port: 1',
    'X-Forwarded-Server: evil',
    'X-Real-IP: 6.6.6.6',
    'Forwarded: for=6.6.6.6;host=evil.example',
  ],
  ...['X-Request-Id: evil', 'Proxy: http://evil.example', 'X_Forwarded_For: 6.6.6.6', 'X.Forwarded.Proto: gopher'],
  ...['X_Real_IP: 6.6.6.6', 'x_request_id: evil', 'Connection: X-Forwarded-For, X-Real-IP, X-Request-Id'],
];
const PRETENDING = PRETENCES.map((line) => `${line}\r\n`).join('');

/** An origin that answers with the field lines it got. */
async function startMirror(t: TestContext): Promise<string> {
  const origin = await startHttpOrigin(t, ({ rawHeaders }, response) => {
    const lines = rawHeaders.flatMap((name, index) => (index % 2 === 0 ? [`${name}: ${rawHeaders[index + 1]}`] : []));
    response.end(lines.join('\n'));
  });
  return origin.url;
}

/** The fields that the origin got, by name. */
async function fieldsSeen(visitor: Conversation, fields = ''): Promise<Map<string, string>> {
  visitor.send(`GET / HTTP/1.1\r\n${HOST}${fields}\r\n`);
  const { body } = await visitor.response();
  const lines = body.split('\n').map((line): [string, string] => {
    const [name = '', ...value] = line.split(': ');
    return [name, value.join(': ')];
  });
  const seen = new Map(lines);
  assert.equal(seen.size, lines.length, `no field twice: ${body}`);
  return seen;
}

/** The fields that say who visits, as the relay sets them. */
function ours(seen: Map<string, string>): object {
  return {
    for: seen.get('X-Forwarded-For'),
    proto: seen.get('X-Forwarded-Proto'),
    host: seen.get('X-Forwarded-Host'),
    ip: seen.get('X-Real-IP'),
    forwarded: seen.get('Forwarded'),
  };
}

const DIRECT = {
  for: '127.0.0.1',
  proto: 'https',
  host: APP,
  ip: '127.0.0.1',
  forwarded: `for=127.0.0.1;proto=https;host=${APP}`,
};

test('an origin is told address, protocol and host of its visitor, and an id of its own for each request', async (t) => {
  const relay = await startAppTunnel(t, await startMirror(t));
  const visitor = await talkToRelay(t, relay);
  const first = await fieldsSeen(visitor);
  assert.deepEqual(ours(first), DIRECT);
  assert.deepEqual([...first.keys()].sort(), [
    ...['Forwarded', 'Host', 'X-Forwarded-For', 'X-Forwarded-Host', 'X-Forwarded-Proto', 'X-Real-IP', 'X-Request-Id'],
  ]);
  const second = await fieldsSeen(visitor);
  for (const seen of [first, second]) assert.match(seen.get('X-Request-Id') ?? '', /^[0-9a-f]{20}$/);
  assert.notEqual(first.get('X-Request-Id'), second.get('X-Request-Id'));
});

test('a Host with a port is told as it came', async (t) => {
  const relay = await startAppTunnel(t, await startMirror(t));
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET / HTTP/1.1\r\nHost: APP.Relay.localhost:8443\r\n\r\n`);
  const { body } = await visitor.response();
  assert.match(body, /^Host: app\.relay\.localhost:8443$/m);
  assert.match(body, /^X-Forwarded-Host: app\.relay\.localhost:8443$/m);
  assert.match(body, /^Forwarded: for=127\.0\.0\.1;proto=https;host="app\.relay\.localhost:8443"$/m);
});

test('nothing of what a visitor says about itself reaches the origin, under any alias', async (t) => {
  const relay = await startAppTunnel(t, await startMirror(t));
  const seen = await fieldsSeen(await talkToRelay(t, relay), PRETENDING);
  assert.deepEqual(ours(seen), DIRECT);
  const all = [...seen].map(([name, value]) => `${name}: ${value}`).join('\n');
  assert.doesNotMatch(all, /6\.6\.6|evil|gopher/);
  assert.equal(seen.size, 7);
});

test('a trusted proxy that speaks HTTP is believed; the list goes on with its own address behind', async (t) => {
  const relay = await startAppTunnel(t, await startMirror(t), { yaml: TRUSTED });
  const visitor = await talkToRelay(t, relay);
  const said =
    'X-Forwarded-For: 6.6.6.6, 203.0.113.9, 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Request-Id: from-proxy.1\r\n';
  const seen = await fieldsSeen(
    visitor,
    `${said}X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Host: evil.example\r\n`,
  );
  assert.deepEqual(ours(seen), {
    for: '6.6.6.6, 203.0.113.9, 127.0.0.1, 127.0.0.1',
    proto: 'http',
    host: APP,
    // The last one that is no proxy of ours; what stands before it, its sender may have made up.
    ip: '203.0.113.9',
    forwarded: `for=6.6.6.6;proto=http;host=${APP}, for=203.0.113.9, for=127.0.0.1, for=127.0.0.1`,
  });
  assert.equal(seen.get('X-Request-Id'), 'from-proxy.1');
  assert.deepEqual(ours(await fieldsSeen(visitor)), DIRECT);
  const odd = await fieldsSeen(visitor, 'X-Forwarded-For: somebody, 2001:db8::7\r\nX-Request-Id: bad id\r\n');
  assert.equal(odd.get('X-Real-IP'), '2001:db8::7');
  assert.equal(odd.get('Forwarded'), `for=unknown;proto=https;host=${APP}, for="[2001:db8::7]", for=127.0.0.1`);
  assert.match(odd.get('X-Request-Id') ?? '', /^[0-9a-f]{20}$/);
});

/** A relay that takes PROXY headers, with a client that comes through a proxy, as it must. */
async function startProxiedRelay(t: TestContext, origin: string): Promise<RunningRelay> {
  const home = new RelayHome(t, { yaml: TRUSTED_WITH_HEADER });
  const relay = await home.start(t);
  const port = await startTcpProxy(t, relay.port('https'), 'PROXY TCP4 192.0.2.77 192.0.2.1 4711 443\r\n');
  await startClient(t, port, home, [appTunnel(origin)]);
  return relay;
}

/** A visitor who sends `header` before TLS, in pieces as given. */
async function talkBehindProxy(
  t: TestContext,
  relay: RunningRelay,
  ...header: (string | Buffer)[]
): Promise<Conversation> {
  const socket = connect({ host: '127.0.0.1', port: relay.port('https'), noDelay: true });
  t.after(() => void socket.destroy());
  for (const piece of header) await new Promise<void>((sent) => socket.write(piece, () => setImmediate(sent)));
  const tls = connectTls({ socket, servername: APP, ca: relay.home.ca });
  const conversation = new Conversation(tls);
  await once(tls, 'secureConnect');
  return conversation;
}

const ADDRESSES = {
  sourceAddress: '2001:db8::7',
  sourcePort: 50_123,
  destinationAddress: '2001:db8::1',
  destinationPort: 443,
};
const V1 = 'PROXY TCP4 203.0.113.9 192.0.2.1 50123 443\r\n';
const V2 = writeProxyV2({ command: 'proxy', ...ADDRESSES, tlvs: [{ type: 0x04, value: Buffer.alloc(9) }] });

test('inbound PROXY v1 and v2 name the visitor, whose own fields are not believed', async (t) => {
  const relay = await startProxiedRelay(t, await startMirror(t));
  assert.equal(relay.relay.status().sessions[0]?.clientAddress, '192.0.2.77');
  const v1 = await talkBehindProxy(t, relay, V1);
  const byV1 = { for: '203.0.113.9', ip: '203.0.113.9', forwarded: `for=203.0.113.9;proto=https;host=${APP}` };
  assert.deepEqual(ours(await fieldsSeen(v1, PRETENDING)), { ...DIRECT, ...byV1 });
  const v2 = await talkBehindProxy(t, relay, V2);
  const byV2 = { for: '2001:db8::7', ip: '2001:db8::7', forwarded: `for="[2001:db8::7]";proto=https;host=${APP}` };
  assert.deepEqual(ours(await fieldsSeen(v2, PRETENDING)), { ...DIRECT, ...byV2 });
  assert.match((await fieldsSeen(v2, 'X-Request-Id: evil\r\n')).get('X-Request-Id') ?? '', /^[0-9a-f]{20}$/);
});

test('a PROXY header may come in pieces, and may say LOCAL', async (t) => {
  const relay = await startProxiedRelay(t, await startMirror(t));
  const pieces = await talkBehindProxy(t, relay, V1.slice(0, 3), V1.slice(3, 20), V1.slice(20));
  assert.equal((await fieldsSeen(pieces)).get('X-Real-IP'), '203.0.113.9');
  const byBytes = await talkBehindProxy(t, relay, V2.subarray(0, 13), V2.subarray(13, 30), V2.subarray(30));
  assert.equal((await fieldsSeen(byBytes)).get('X-Real-IP'), '2001:db8::7');
  const local = Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex');
  assert.deepEqual(ours(await fieldsSeen(await talkBehindProxy(t, relay, local))), DIRECT);
});

test('the address of a PROXY header goes on to an origin that asks for one', async (t) => {
  const origin = await startRawOrigin(t);
  const home = new RelayHome(t, { yaml: TRUSTED_WITH_HEADER });
  const relay = await home.start(t);
  const port = await startTcpProxy(t, relay.port('https'), V1);
  await startClient(t, port, home, [appTunnel(`127.0.0.1:${origin.port}`, 'proxy_protocol: v1')]);
  const visitor = await talkBehindProxy(t, relay, 'PROXY TCP4 203.0.113.9 192.0.2.1 50123 443\r\n');
  visitor.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  assert.equal(await (await origin.connection(0)).until('\r\n'), 'PROXY TCP4 203.0.113.9 192.0.2.1 50123 443\r\n');
});

test('with proxy_protocol a trusted address without a PROXY header is turned away', async (t) => {
  const relay = await startProxiedRelay(t, await startMirror(t));
  await assert.rejects(talkBehindProxy(t, relay));
  assert.equal(relay.relay.status().refusals.PROTOCOL_VIOLATION, 1);
});

test('a PROXY header of anybody else is no ClientHello', async (t) => {
  const yaml = 'proxy_protocol: true\ntrusted_proxies: [192.0.2.0/24]';
  const relay = await startAppTunnel(t, await startMirror(t), { yaml });
  await assert.rejects(talkBehindProxy(t, relay, V1));
  assert.equal(relay.relay.status().refusals.REQUEST_INVALID, 1);
  assert.deepEqual(ours(await fieldsSeen(await talkToRelay(t, relay))), DIRECT);
});

test('raw TCP tunnels take the PROXY header too', async (t) => {
  const origin = await startRawOrigin(t);
  const tcpPort = await freePort();
  const home = new RelayHome(t, { yaml: TRUSTED_WITH_HEADER, tcpPorts: [String(tcpPort)] });
  const relay = await home.start(t);
  const port = await startTcpProxy(t, relay.port('https'), V1);
  const tunnel = `{ name: raw, tcp_port: ${tcpPort}, origin: "127.0.0.1:${origin.port}", proxy_protocol: v1 }`;
  await startClient(t, port, home, [tunnel]);
  const socket = connect({ host: '127.0.0.1', port: tcpPort });
  t.after(() => void socket.destroy());
  socket.write(`${V1}payload`);
  assert.equal(await (await origin.connection(0)).until('payload'), `${V1}payload`);
  socket.destroy();
});

test('behind a proxy that ends TLS and speaks HTTPS to the relay, clients and visitors get through', async (t) => {
  const nginx = requireTool(t, 'nginx', 'nginx-light');
  if (nginx === undefined) return;
  const home = new RelayHome(t, { yaml: TRUSTED });
  const relay = await home.start(t);
  const front = await startHttpsProxy(t, nginx, relay);
  const origin = await startMirror(t);
  const { client } = await startClient(t, front, home, [appTunnel(origin)]);
  assert.equal(client.status().state, 'serving');
  assert.deepEqual(
    relay.relay.status().sessions.map((session) => session.clientAddress),
    ['203.0.113.9'],
  );
  const visitor = await talkToRelay(t, relay, { port: front });
  const seen = ours(await fieldsSeen(visitor, PRETENDING)) as Record<string, string>;
  assert.equal(seen.ip, '203.0.113.9');
  assert.equal(seen.for, '203.0.113.9, 127.0.0.1');
  assert.equal(seen.host, APP);
});

/** nginx that ends TLS for the relay's names, with certificates of its local CA; returns its port. */
async function startHttpsProxy(t: TestContext, nginx: string, relay: RunningRelay): Promise<number> {
  const folder = temporaryFolder(t);
  const ca = new TestCa(readFileSync(join(dirname(relay.home.caFile), 'ca-key.pem'), 'utf8'), relay.home.ca);
  const port = await freePort();
  const servers = [];
  for (const name of [DOMAIN, APP]) {
    const { key, cert } = await ca.issue(name);
    writeFileSync(join(folder, `${name}.key`), key);
    writeFileSync(join(folder, `${name}.pem`), cert);
    servers.push(`server { listen 127.0.0.1:${port} ssl; server_name ${name};
      ssl_certificate ${name}.pem; ssl_certificate_key ${name}.key;
      location / {
        proxy_pass https://127.0.0.1:${relay.port('https')};
        proxy_ssl_server_name on; proxy_ssl_name $host; proxy_http_version 1.1;
        proxy_set_header Host $host; proxy_set_header X-Forwarded-For 203.0.113.9;
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      } }`);
  }
  const map = "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }";
  await startNginx(t, nginx, [map, ...servers].join('\n'), folder);
  return port;
}
