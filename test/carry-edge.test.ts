/** The public ports themselves: names, certificates, redirects, and what those meet who come to the wrong place. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { freePort } from '../bench/free-port.js';
import { APP, appTunnel, connectVisitor, startAppTunnel, talkToRelay } from './support/carry.js';
import { Conversation } from './support/conversation.js';
import { type HttpOrigin, startHttpOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { talkTcp } from './support/tcp-tunnel.js';
import { runTool } from './support/tool-process.js';
import { DOMAIN, RelayHome, type RunningRelay } from './support/world.js';

const GET = `GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`;
/** TLS alerts, as records: fatal (2) and the description. */
const UNRECOGNIZED_NAME = [21, 3, 3, 0, 2, 2, 112];
const DECODE_ERROR = [21, 3, 3, 0, 2, 2, 50];

/** An origin that answers with the Host that it was asked for. */
function startHostOrigin(t: TestContext): Promise<HttpOrigin> {
  return startHttpOrigin(t, (request, response) => response.end(request.headers.host));
}

/** Connects with this SNI; the error that ends the handshake. */
async function refusedHandshake(t: TestContext, relay: RunningRelay, servername: string): Promise<unknown> {
  return connectVisitor(t, relay, { servername, rejectUnauthorized: false }).then(
    () => assert.fail(`${servername} got a certificate`),
    (error: NodeJS.ErrnoException) => error.code,
  );
}

async function redirected(relay: RunningRelay, path: string, host: string): Promise<IncomingMessage> {
  const request = get({ host: '127.0.0.1', port: relay.port('http'), path, headers: { host }, agent: false });
  const [response] = await once(request, 'response');
  response.resume();
  return response;
}

test('the plain HTTP port sends known names to https with path and query, and nobody else', async (t) => {
  const relay = await startAppTunnel(t, (await startHostOrigin(t)).url, { yaml: 'public_port: 8443' });
  const answer = await redirected(relay, '/a/b?c=d', `${APP}:80`);
  assert.equal(answer.statusCode, 308);
  assert.equal(answer.headers.location, `https://${APP}:8443/a/b?c=d`);
  assert.equal((await redirected(relay, '/', DOMAIN)).headers.location, `https://${DOMAIN}:8443/`);
  const unknown = await redirected(relay, '/', 'evil.example.com');
  assert.equal(unknown.statusCode, 404);
  assert.equal(unknown.headers.location, undefined);
});

test('the redirect leaves the port out when https is on its own port', async (t) => {
  const relay = await startAppTunnel(t, (await startHostOrigin(t)).url, { yaml: 'public_port: 443' });
  assert.equal((await redirected(relay, '/x', APP)).headers.location, `https://${APP}/x`);
});

test('responses and error pages carry Strict-Transport-Security when the relay is asked to', async (t) => {
  const origin = await startHostOrigin(t);
  const relay = await startAppTunnel(t, origin.url, { yaml: 'tls: { hsts: true }' });
  const visitor = await talkToRelay(t, relay);
  visitor.send(GET, GET.replace(APP, 'other.relay.localhost'));
  assert.equal((await visitor.response()).field('strict-transport-security'), 'max-age=31536000');
  const page = await visitor.response();
  assert.equal(page.status, 421);
  assert.equal(page.field('strict-transport-security'), 'max-age=31536000');
  const plain = await talkToRelay(t, await startAppTunnel(t, origin.url));
  plain.send(GET);
  assert.equal((await plain.response()).field('strict-transport-security'), undefined);
});

test('an unknown SNI, or none, gets the alert unrecognized_name and no certificate', async (t) => {
  const relay = await startAppTunnel(t, (await startHostOrigin(t)).url);
  const names = ['evil.example.com', 'unknown.relay.localhost', `a.${APP}`, ''];
  for (const name of names) {
    assert.equal(await refusedHandshake(t, relay, name), 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME', name);
  }
  assert.equal(relay.relay.status().refusals.ROUTE_NOT_FOUND, names.length);
});

test('openssl s_client sees the alert and no certificate', async (t) => {
  const openssl = requireTool(t, 'openssl', 'openssl');
  if (openssl === undefined) return;
  const relay = await startAppTunnel(t, (await startHostOrigin(t)).url);
  const connect = ['s_client', '-connect', `127.0.0.1:${relay.port('https')}`];
  for (const name of [['-servername', 'evil.example.com'], ['-noservername']]) {
    const { code, stdout, stderr } = await runTool(t, openssl, [...connect, ...name]);
    assert.notEqual(code, 0);
    assert.match(stderr, /alert unrecognized name|alert number 112/);
    assert.match(stdout, /no peer certificate available/);
  }
  const known = await runTool(t, openssl, [...connect, '-servername', APP, '-CAfile', relay.home.caFile]);
  assert.match(known.stdout, /Verify return code: 0 \(ok\)/);
});

test('whoever speaks something else on the TLS port gets an alert and the end', async (t) => {
  const relay = await startAppTunnel(t, (await startHostOrigin(t)).url);
  for (const words of [GET, 'SSH-2.0-OpenSSH_9.2\r\n', Buffer.alloc(100)]) {
    const visitor = await talkTcp(t, relay.port('https'));
    visitor.send(words);
    assert.deepEqual([...Buffer.from(await visitor.rest(), 'latin1')], DECODE_ERROR);
  }
});

test('the alert for an unknown name is a record that any TLS version understands', async (t) => {
  const relay = await startAppTunnel(t, (await startHostOrigin(t)).url);
  const visitor = await talkTcp(t, relay.port('https'));
  const hello = clientHello('evil.example.com');
  visitor.send(hello.subarray(0, 50));
  visitor.send(hello.subarray(50));
  assert.deepEqual([...Buffer.from(await visitor.rest(), 'latin1')], UNRECOGNIZED_NAME);
});

/** A small ClientHello of TLS 1.2 with a server name. */
function clientHello(serverName: string): Buffer {
  const sized = (bytes: 1 | 2 | 3, ...parts: Buffer[]) => {
    const body = Buffer.concat(parts);
    const head = Buffer.alloc(bytes);
    head.writeUIntBE(body.length, 0, bytes);
    return Buffer.concat([head, body]);
  };
  const name = sized(2, Buffer.of(0), sized(2, Buffer.from(serverName)));
  const extensions = sized(2, Buffer.of(0, 0), sized(2, name));
  const suites = sized(2, Buffer.of(0xc0, 0x2f));
  const body = Buffer.concat([Buffer.of(3, 3), Buffer.alloc(32), sized(1), suites, sized(1, Buffer.of(0)), extensions]);
  return Buffer.concat([Buffer.of(22, 3, 1), sized(2, Buffer.of(1), sized(3, body))]);
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`a resumed session of ${version} serves its hostname like a new one`, async (t) => {
    const relay = await startAppTunnel(t, (await startHostOrigin(t)).url);
    const options = { minVersion: version, maxVersion: version };
    const first = await connectVisitor(t, relay, options);
    const before = new Conversation(first);
    before.send(GET);
    assert.equal((await before.response()).body, APP);
    const session = first.getSession();
    const second = await connectVisitor(t, relay, { ...options, session });
    assert.ok(second.isSessionReused());
    const after = new Conversation(second);
    after.send(GET);
    assert.equal((await after.response()).body, APP);
  });
}

test('TLS 1.1 is refused, HTTP/1.1 is chosen, h2 is not offered', async (t) => {
  const relay = await startAppTunnel(t, (await startHostOrigin(t)).url);
  const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' } as const;
  await assert.rejects(connectVisitor(t, relay, old));
  const socket = await connectVisitor(t, relay, { ALPNProtocols: ['h2', 'http/1.1'] });
  assert.equal(socket.alpnProtocol, 'http/1.1');
  const [answer] = await once(
    connectTls({ port: relay.port('https'), servername: APP, ALPNProtocols: ['h2'] }),
    'error',
  );
  assert.match(answer.code, /NO_APPLICATION_PROTOCOL/);
});

test('a Host of another tunnel on the same connection is 421, and the connection goes on', async (t) => {
  const origin = await startHostOrigin(t);
  const relay = await new RelayHome(t).start(t);
  await relay.client(t, [appTunnel(origin.url), `{ name: two, host: two.relay.localhost, origin: "${origin.url}" }`]);
  const visitor = await talkToRelay(t, relay);
  for (const host of ['two.relay.localhost', DOMAIN, 'evil.example.com', '127.0.0.1']) {
    visitor.send(GET.replace(APP, host));
    const page = await visitor.response();
    assert.equal(page.status, 421, host);
    assert.equal(page.field('x-sallyport-error'), 'HOST_MISDIRECTED');
  }
  visitor.send(GET);
  assert.equal((await visitor.response()).body, APP);
  const own = await talkToRelay(t, relay, { servername: DOMAIN });
  own.send(GET);
  assert.equal((await own.response()).status, 421);
});

test('a wildcard tunnel serves one level of names, and an exact one comes before it', async (t) => {
  const [wild, exact] = [await startHostOrigin(t), await startHttpOrigin(t, (_, response) => response.end('exact'))];
  const relay = await new RelayHome(t, { hosts: ['*.home.relay.localhost'] }).start(t);
  await relay.client(t, [
    `{ name: wild, host: "*.home.relay.localhost", origin: "${wild.url}" }`,
    `{ name: exact, host: exact.home.relay.localhost, origin: "${exact.url}" }`,
  ]);
  const bodies = { a: 'a.home.relay.localhost', b: 'b.home.relay.localhost', exact: 'exact' };
  for (const [name, body] of Object.entries(bodies)) {
    const host = `${name}.home.relay.localhost`;
    const visitor = await talkToRelay(t, relay, { servername: host });
    visitor.send(GET.replace(APP, host));
    assert.equal((await visitor.response()).body, body);
  }
  for (const name of ['home.relay.localhost', 'a.b.home.relay.localhost']) {
    assert.equal(await refusedHandshake(t, relay, name), 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME');
  }
  const visitor = await talkToRelay(t, relay, { servername: 'a.home.relay.localhost' });
  visitor.send(GET.replace(APP, 'exact.home.relay.localhost'));
  assert.equal((await visitor.response()).status, 421);
});

test('error pages are HTML for browsers and JSON for programs, with code and request id', async (t) => {
  const relay = await startAppTunnel(t, `http://127.0.0.1:${await freePort()}`);
  const visitor = await talkToRelay(t, relay);
  const browser = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
  visitor.send(GET.replace('\r\n\r\n', `\r\nAccept: ${browser}\r\n\r\n`));
  const html = await visitor.response();
  assert.equal(html.field('content-type'), 'text/html; charset=utf-8');
  assert.match(html.body, /^<!doctype html>[^<]*<html[\s\S]*ORIGIN_REFUSED[\s\S]*Request [0-9a-f]{20}</);
  for (const accept of ['application/json', '*/*', 'text/html;q=0.1, application/json']) {
    visitor.send(GET.replace('\r\n\r\n', `\r\nAccept: ${accept}\r\n\r\n`));
    const json = await visitor.response();
    assert.equal(json.field('content-type'), 'application/json; charset=utf-8');
    const { code, status, requestId } = JSON.parse(json.body);
    assert.deepEqual([code, status], ['ORIGIN_REFUSED', 502]);
    assert.match(requestId, /^[0-9a-f]{20}$/);
  }
  visitor.send(GET.replace('GET', 'HEAD'), GET);
  const head = await visitor.response('HEAD');
  assert.ok(Number(head.field('content-length')) > 0);
  assert.equal((await visitor.response()).status, 502);
});

test('a tunnel whose client left is another page than an app that is down', async (t) => {
  const origin = await startHostOrigin(t);
  const relay = await new RelayHome(t).start(t);
  const { client, done } = await relay.client(t, [appTunnel(origin.url)]);
  client.close();
  await done;
  const visitor = await talkToRelay(t, relay);
  visitor.send(GET);
  const page = await visitor.response();
  assert.equal(page.status, 503);
  assert.equal(page.field('x-sallyport-error'), 'TUNNEL_OFFLINE');
  assert.match(page.field('retry-after') ?? '', /^\d+$/);
});

test('the relay’s own name answers with a page that tells nothing', async (t) => {
  const relay = await startAppTunnel(t, (await startHostOrigin(t)).url);
  const visitor = await talkToRelay(t, relay, { servername: DOMAIN });
  visitor.send(GET.replace(APP, DOMAIN));
  const page = await visitor.response();
  assert.equal(page.status, 404);
  assert.equal(page.field('x-sallyport-error'), 'ROUTE_NOT_FOUND');
  assert.doesNotMatch(page.body, new RegExp(APP));
});
