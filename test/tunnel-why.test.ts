/** `tunnel why URL`: the hop that failed is named truly, with times, and strangers learn nothing by asking. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { freePort } from '../bench/free-port.js';
import { Traces } from '../relay-server/ops/traces.js';
import { makeGrants } from '../relay-server/sessions/grants.js';
import { RELAY_HOPS } from '../shared/messages.js';
import { follow, parseWhyUrl } from '../shared/why/follow.js';
import { hopOf, type Way, wayLines } from '../shared/why/way.js';
import { runWhy } from '../tunnel-client/why-command.js';
import { APP, appTunnel, talkToRelay } from './support/carry.js';
import { startVault, VAULT } from './support/home-tls.js';
import { startHttpOrigin, startRawOrigin } from './support/origins.js';
import { recordingIo } from './support/recording-io.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { RelayHome, type RunningRelay, writeTunnelConfig } from './support/world.js';

/** TLS alert 40. */
const HANDSHAKE_FAILURE = Buffer.from('15030300020228', 'hex');

interface Followed {
  readonly way: Way;
  readonly exit: number;
  readonly failed: string | undefined;
}

async function why(t: TestContext, relay: RunningRelay, host = APP, options = {}): Promise<Followed> {
  const port = relay.port('https');
  const config = writeTunnelConfig(temporaryFolder(t), port, relay.home, [], options);
  const io = recordingIo();
  const exit = await runWhy(`https://${host}:${port}/path?q=1`, { config, json: true }, io);
  const way = JSON.parse(io.printed.join('')) as Way;
  const failed = way.hops.find(({ state }) => state === 'FAIL');
  if (failed !== undefined) assert.ok(failed.cure, `${failed.hop} has a cure`);
  if (failed?.hop !== 'tls') assert.equal(failed ?? way.hops.at(-1), way.hops.at(-1));
  return { way, exit, failed: failed?.hop };
}

test('a request that arrives is told hop by hop, with a time for each, and the app sees an ordinary request', async (t) => {
  const seen: string[] = [];
  const origin = await startHttpOrigin(t, (request, response) => {
    seen.push(`${request.method} ${request.url} ${Object.keys(request.headers).join(' ')}`);
    setTimeout(() => response.end('hi'), 120);
  });
  const relay = await new RelayHome(t).start(t);
  await relay.client(t, [appTunnel(origin.url)]);
  const { way, exit, failed } = await why(t, relay);
  assert.deepEqual([failed, exit], [undefined, 0]);
  assert.deepEqual(
    way.hops.map(({ hop }) => hop),
    ['dns', 'connect', 'tls', ...RELAY_HOPS],
  );
  for (const { hop, ms } of way.hops.slice(1)) assert.ok(ms !== undefined && ms >= 0, hop);
  const msOf = (name: string) => way.hops.find(({ hop }) => hop === name)?.ms ?? Number.NaN;
  assert.ok(msOf('app') >= 110, `the app's time is the app's: ${msOf('app')}`);
  assert.ok(msOf('dial') < 110, `the dial is told apart from it: ${msOf('dial')}`);
  assert.equal(seen.length, 1);
  assert.match(seen[0] ?? '', /^GET \/path\?q=1 /);
  assert.doesNotMatch(seen[0] ?? '', /sallyport-trace/);
});

test('an app that is down, hangs up or answers 500 is told from a tunnel that is down', async (t) => {
  const relay = await new RelayHome(t).start(t);
  const raw = await startRawOrigin(t, { onConnection: (connection) => void connection.socket.destroy() });
  const broken = await startHttpOrigin(t, (_request, response) => {
    response.statusCode = 500;
    response.end();
  });
  const { client } = await relay.client(t, [
    appTunnel(`http://127.0.0.1:${await freePort()}`),
    `{ name: raw, host: raw.relay.localhost, origin: "http://127.0.0.1:${raw.port}" }`,
    `{ name: broken, host: broken.relay.localhost, origin: "${broken.url}" }`,
  ]);
  const down = await why(t, relay);
  assert.deepEqual([down.failed, down.exit], ['dial', 69]);
  assert.match(down.way.hops.at(-1)?.found ?? '', /^ORIGIN_REFUSED/);
  assert.equal((await why(t, relay, 'raw.relay.localhost')).failed, 'app');
  const answered = await why(t, relay, 'broken.relay.localhost');
  assert.equal(answered.failed, 'app');
  assert.match(answered.way.hops.at(-1)?.found ?? '', /answered 500/);
  await client.drain();
  const offline = await why(t, relay);
  assert.equal(offline.failed, 'session');
  assert.match(offline.way.hops.at(-1)?.found ?? '', /^TUNNEL_OFFLINE/);
});

test('a name that the relay does not know ends at the route, a relay that is not there at the connection', async (t) => {
  const relay = await new RelayHome(t).start(t);
  assert.equal((await why(t, relay, 'nobody.relay.localhost')).failed, 'route');
  const config = writeTunnelConfig(temporaryFolder(t), await freePort(), relay.home, []);
  const io = recordingIo();
  assert.equal(await runWhy(`https://${APP}`, { config }, io), 69);
  assert.match(io.printed.join('\n'), /^FAIL {2}connect [\s\S]*It ended at: connect\.$/m);
});

test('TLS that ends at home hides the request from the relay, and the answer still names the hop', async (t) => {
  const { relay, client, certificate } = await startVault(t, `http://127.0.0.1:${await freePort()}`);
  const { way, failed } = await why(t, relay, VAULT);
  assert.equal(failed, 'tls', 'visitors refuse a certificate of a CA that nobody trusts');
  assert.match(way.hops.find(({ hop }) => hop === 'tls')?.cure ?? '', /Nobody whom this machine trusts/);
  const last = way.hops.at(-1);
  assert.deepEqual(
    [last?.hop, last?.state],
    ['dial', 'FAIL'],
    'what is behind the certificate is looked at all the same',
  );
  assert.ok(certificate.ca.length > 0);
  await client.client.drain();
  assert.equal((await why(t, relay, VAULT)).failed, 'session');
});

test('a client without a certificate is named, with its own reason where that is known here', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(HANDSHAKE_FAILURE));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => void server.close());
  const asked = {
    url: parseWhyUrl(VAULT),
    address: { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
    trusted: [],
    announce: () => assert.fail('there is no TLS to ask in'),
    signal: AbortSignal.timeout(10_000),
  };
  const told = (await follow(asked)).hops.at(-1);
  assert.deepEqual([told?.hop, told?.found], ['tls', `the client has no certificate for ${VAULT} yet`]);
  const known = { found: 'the CA said no', cure: 'On the VPS: relay cert list' };
  const explained = (await follow({ ...asked, explain: async () => known })).hops.at(-1);
  assert.deepEqual(explained, { hop: 'tls', state: 'FAIL', ...known });
});

test('the last line says where visitors end when what is behind it was looked at', () => {
  const hops = [
    { hop: 'tls', state: 'FAIL', found: 'x' },
    { hop: 'app', state: 'PASS', found: 'y' },
  ] as const;
  assert.match(wayLines({ url: '', hops }).at(-1) ?? '', /^Visitors end at: tls\./);
});

test('a token that may not have the hostname is told nothing by the relay', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => void response.end());
  const home = new RelayHome(t);
  const stranger = home.tokens.create('stranger', makeGrants(['other.relay.localhost'], [])).text;
  const relay = await home.start(t);
  await relay.client(t, [appTunnel(origin.url)]);
  const { way, exit } = await why(t, relay, APP, { token: stranger });
  assert.equal(exit, 0);
  const seen = way.hops.filter(({ hop, state }) => RELAY_HOPS.some((name) => name === hop) && state === 'PASS');
  assert.deepEqual(
    seen.map(({ hop }) => hop),
    ['app'],
  );
});

test('a visitor who sends the field alone gets the same answer as anybody, and the app never sees it', async (t) => {
  let fields = '';
  const origin = await startHttpOrigin(t, (request, response) => {
    fields = request.rawHeaders.join(' ');
    response.sendDate = false;
    response.end('hi');
  });
  const relay = await new RelayHome(t).start(t);
  await relay.client(t, [appTunnel(origin.url)]);
  const ask = async (field: string) => {
    const visitor = await talkToRelay(t, relay);
    visitor.socket.write(`GET / HTTP/1.1\r\nHost: ${APP}\r\nConnection: close\r\n${field}\r\n`);
    return (await visitor.rest()).toString();
  };
  const id = randomBytes(18).toString('base64url');
  assert.equal(await ask(`X-Sallyport-Trace: ${id}\r\nX_Sallyport_Trace: ${id}\r\n`), await ask(''));
  assert.doesNotMatch(fields, /trace/i);
});

test('watches are few, end by themselves, and match one request to one hostname', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const traces = new Traces();
  const id = 'a'.repeat(24);
  await assert.rejects(traces.watch('short', APP, ''), { code: 'REQUEST_INVALID' });
  const first = traces.watch(id, APP, '');
  await assert.rejects(traces.watch(id, APP, ''), { code: 'REQUEST_INVALID' });
  assert.equal(traces.begin(id, 'other.relay.localhost'), undefined);
  assert.equal(traces.begin('b'.repeat(24), APP), undefined);
  const trace = traces.begin(id, APP);
  assert.equal(traces.begin(id, APP), undefined);
  trace?.pass('route', 'x'.repeat(5_000));
  trace?.finish('TUNNEL_OFFLINE', '');
  const outcome = await first;
  assert.deepEqual([outcome.code, outcome.hops.length, outcome.hops[0]?.fact.length], ['TUNNEL_OFFLINE', 1, 200]);
  const all = Array.from({ length: 64 }, (_, at) => traces.watch(String(at).padStart(24, '0'), APP, `token${at >> 3}`));
  await assert.rejects(traces.watch(id, APP, ''), { code: 'LIMIT_EXCEEDED' });
  t.mock.timers.tick(30_001);
  for (const each of await Promise.all(all)) assert.deepEqual([each.code, each.hops], [undefined, []]);
});

test('a code always belongs to a hop that was not passed yet', () => {
  const codes = ['ORIGIN_TIMEOUT', 'LINK_LOST', 'ORIGIN_REFUSED', 'INTERNAL', 'TUNNEL_OFFLINE'] as const;
  fc.assert(
    fc.property(fc.constantFrom(...codes), fc.nat(RELAY_HOPS.length - 1), (code, count) => {
      const passed = RELAY_HOPS.slice(0, count);
      assert.ok(!passed.some((name) => name === hopOf(code, passed).hop));
    }),
  );
  assert.equal(hopOf('ORIGIN_TIMEOUT', RELAY_HOPS.slice(0, 5)).hop, 'app');
});

test('a URL is taken with and without its scheme, and anything else is refused', () => {
  assert.equal(parseWhyUrl('app.example.com/x').href, 'https://app.example.com/x');
  assert.equal(parseWhyUrl('tcp://example.com:2222').host, 'example.com:2222');
  for (const text of [
    'http://app.example.com',
    'https://1.2.3.4',
    'https://me:pw@app.example.com',
    'tcp://example.com',
    '',
  ]) {
    assert.throws(() => parseWhyUrl(text), { code: 'USAGE_INVALID' }, text);
  }
});
