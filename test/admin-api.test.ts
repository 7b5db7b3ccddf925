/** The admin API of a running relay is what its OpenAPI document says, and is told to nobody without the admin token. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type OutgoingHttpHeaders, type RequestOptions, request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort } from '../bench/free-port.js';
import { runCertList, runCertRenew } from '../relay-server/cert-command.js';
import { runDoctor } from '../relay-server/doctor-command.js';
import { Relay } from '../relay-server/relay.js';
import { runStatus } from '../relay-server/status-command.js';
import { runWhy } from '../relay-server/why-command.js';
import { ACTION_FIELD } from '../shared/admin-server.js';
import { APP, appTunnel, talkToRelay } from './support/carry.js';
import { complaintsOf, resolveReference, type Schema } from './support/json-schema.js';
import { startHttpOrigin } from './support/origins.js';
import { recordingIo } from './support/recording-io.js';
import { watchedLog } from './support/watched-log.js';
import { until } from './support/within.js';
import { RelayHome, type RunningRelay, startRelayProcess } from './support/world.js';

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

interface Operation {
  readonly operationId: string;
  readonly security?: readonly unknown[];
  readonly responses: Readonly<Record<string, { $ref?: string; content?: Record<string, { schema: Schema }> }>>;
}

const FILE = fileURLToPath(new URL('../../config/openapi/relay.json', import.meta.url));
const DOCUMENT = JSON.parse(readFileSync(FILE, 'utf8')) as { paths: Record<string, Record<string, Operation>> };

/** What is asked for a path with parameters. */
const EXAMPLES: ReadonlyMap<string, string> = new Map([
  ['/api/v1/certificates/{name}/renew', '/api/v1/certificates/unknown.relay.localhost/renew'],
  ['/api/v1/tunnels/{address}/forget', '/api/v1/tunnels/unknown.relay.localhost/forget'],
  ['/api/v1/requests/{id}', `/api/v1/requests/aaaaaaaaaaaaaaaaaaaaaa?host=other.example`],
]);

const operations = Object.entries(DOCUMENT.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
);

async function ask(
  relay: RunningRelay,
  method: string,
  path: string,
  headers: OutgoingHttpHeaders = {},
): Promise<Reply> {
  const asked = request({ host: '127.0.0.1', port: relay.port('admin'), method, path, headers, agent: false }).end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  let body = '';
  for await (const chunk of response) body += chunk;
  const [type = ''] = (response.headers['content-type'] ?? '').split(';');
  return { status: response.statusCode ?? 0, type, body };
}

/** What the document says about this reply that is not so. */
function complaintsAbout({ operationId, responses }: Operation, { status, type, body }: Reply): string[] {
  const named = responses[status];
  if (named === undefined) return [`${operationId}: ${status} is not in the document: ${body}`];
  const { content } = (named.$ref === undefined ? named : resolveReference(named.$ref, DOCUMENT)) as typeof named;
  const media = content?.[type];
  if (media === undefined) return [`${operationId}: ${status} has the type ${type}`];
  const value = type === 'application/json' ? JSON.parse(body) : body;
  return complaintsOf(value, media.schema, DOCUMENT).map((complaint) => `${operationId} ${status} ${complaint}`);
}

test('every path of a relay with clients and visitors answers as the document says', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end('hello'));
  const home = new RelayHome(t);
  home.tokens.create('passing', { hosts: [`*.${APP}`], tcpPorts: ['2200-2299'] }, Date.now() + 60_000);
  const relay = await home.start(t);
  await relay.client(t, [appTunnel(origin.url)], { clientId: 'box' });
  await relay.client(t, [`{ name: other, host: other.relay.localhost, origin: "${origin.url}" }`], { clientId: 'two' });
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  await visitor.until('hello');
  visitor.send('nonsense\r\n\r\n');
  await visitor.until('400');
  const action = { [ACTION_FIELD]: 'test' };
  for (const { path, method, operation } of operations) {
    if (operation.operationId === 'watchRequest') continue;
    const reply = await ask(relay, method, EXAMPLES.get(path) ?? path, method === 'POST' ? action : {});
    assert.deepEqual(complaintsAbout(operation, reply), []);
    const isRefused = ['renewCertificate', 'forgetTunnel'].includes(operation.operationId);
    assert.equal(reply.status, isRefused ? 409 : 200, path);
  }
  const list = async (name: string) => JSON.parse((await ask(relay, 'GET', `/api/v1/${name}`)).body);
  assert.equal((await list('sessions')).length, 2);
  assert.deepEqual(
    new Set((await list('tunnels')).map(({ name }: { name: string }) => name)),
    new Set(['app', 'other']),
  );
  assert.deepEqual(
    (await list('tokens')).map(({ name }: { name: string }) => name),
    ['home', 'passing'],
  );
  assert.equal((await list('status')).lastRefusal.code, 'REQUEST_INVALID');
  assert.ok((await list('certificates')).length >= 2);
});

test('a request that is followed is told as the document says', async (t) => {
  const relay = await new RelayHome(t).start(t);
  const found = operations.find(({ operation }) => operation.operationId === 'watchRequest');
  assert.ok(found);
  const refused = await ask(relay, 'GET', '/api/v1/requests/short?host=app.relay.localhost');
  assert.deepEqual(complaintsAbout(found.operation, refused), []);
  assert.equal(JSON.parse(refused.body).code, 'REQUEST_INVALID');
});

test('every question that is answered is in the document', async (t) => {
  const relay = await new RelayHome(t).start(t);
  const { status, body } = await ask(relay, 'GET', '/nothing');
  assert.equal(status, 404);
  const answered = [...body.matchAll(/\/[\w/.]+\w/g)].map(([path]) => path);
  const documented = operations.filter(({ path, method }) => method === 'GET' && !path.includes('{'));
  assert.deepEqual(answered.sort(), documented.map(({ path }) => path).sort());
  assert.deepEqual(JSON.parse((await ask(relay, 'GET', '/api/v1/openapi.json')).body), DOCUMENT);
});

test('a client is a device: connected, and away after it left, with what it said of itself', async (t) => {
  const relay = await new RelayHome(t).start(t);
  const devices = async () => JSON.parse((await ask(relay, 'GET', '/api/v1/devices')).body);
  const { client, done } = await relay.client(t, [appTunnel('http://127.0.0.1:1')], { clientId: 'box' });
  const [connected] = await devices();
  const { tokenName, clientId, address, state, sessions } = connected;
  assert.deepEqual([tokenName, clientId, address, state, sessions], ['home', 'box', '127.0.0.1', 'connected', 1]);
  assert.match(connected.agent, /^sallyport\/\d/);
  assert.equal(connected.sessionId, relay.relay.status().sessions[0]?.id);
  client.close();
  await done;
  const away = await until('the client is away', async () => {
    const [device] = await devices();
    return device.state === 'away' ? device : undefined;
  });
  assert.equal(away.sessionId, null);
  assert.ok(away.lastSeenAt >= connected.firstSeenAt);
  await relay.client(t, [appTunnel('http://127.0.0.1:1')], { clientId: 'box' });
  const all = await devices();
  assert.deepEqual([all.length, all[0].state, all[0].sessions], [1, 'connected', 2]);
});

test('with an admin token only health is told to strangers, on every path of the document', async (t) => {
  const home = new RelayHome(t);
  const relay = await home.start(t);
  const file = join(home.config.stateDir, 'admin-token');
  writeFileSync(file, 'a-long-admin-token\n', { mode: 0o600 });
  const right = { authorization: 'Bearer a-long-admin-token' };
  for (const { path, method, operation } of operations) {
    const isOpen = operation.security?.length === 0;
    for (const headers of [{}, { authorization: 'Bearer a-long-admin-tokem' }, { authorization: 'Basic eDp5' }]) {
      const { status } = await ask(relay, method, EXAMPLES.get(path) ?? path, { ...headers, [ACTION_FIELD]: '1' });
      assert.equal(status, isOpen ? 200 : 401, path);
    }
  }
  assert.equal((await ask(relay, 'GET', '/api/v1/status', right)).status, 200);
  assert.equal((await ask(relay, 'GET', '/metrics', right)).status, 200);
  assert.equal((await ask(relay, 'GET', '/api/v1/status', { ...right, host: 'evil.example' })).status, 421);
  assert.equal((await ask(relay, 'GET', '/api/v1/status', { ...right, origin: 'http://evil.example' })).status, 403);
  chmodSync(file, 0o644);
  assert.equal((await ask(relay, 'GET', '/api/v1/status', right)).status, 500, 'one that others read keeps all out');
  rmSync(file);
  assert.equal((await ask(relay, 'GET', '/api/v1/status')).status, 200);
});

test('who takes the admin port while the relay is away gets no admin token, unless the operator says --tcp', async (t) => {
  const home = new RelayHome(t, { adminPort: await freePort() });
  const { stateDir, listen } = home.config;
  const logins: (string | undefined)[] = [];
  const thief = createServer((asked, response) => {
    logins.push(asked.headers.authorization);
    response.writeHead(401).end();
  }).listen(listen.admin?.port, '127.0.0.1');
  await once(thief, 'listening');
  t.after(() => thief.close());
  writeFileSync(join(stateDir, 'admin-token'), 'a-long-admin-token', { mode: 0o600 });
  const { configFile: config } = home;
  const io = recordingIo();
  const verbs: [verb: () => Promise<unknown>, code: string | undefined][] = [
    [() => runStatus({ config }, io), 'LINK_LOST'],
    [() => runCertRenew('relay.localhost', { config }, io), 'LINK_LOST'],
    [() => runCertList({ config }, io), undefined],
    [() => runDoctor({ config }, io), undefined],
    [() => runWhy('https://relay.localhost:1', { config, address: '127.0.0.1:1' }, io), undefined],
  ];
  for (const [verb, code] of verbs) await (code === undefined ? verb() : assert.rejects(verb(), { code }));
  assert.deepEqual(logins, []);
  await assert.rejects(runStatus({ config, tcp: true }, io), { code: 'LINK_LOST' });
  assert.deepEqual(logins, ['Bearer a-long-admin-token']);
});

test('a relay with an admin token is asked by its control socket, and with --tcp at its admin listener', async (t) => {
  const home = new RelayHome(t, { adminPort: await freePort() });
  await startRelayProcess(t, home);
  writeFileSync(join(home.config.stateDir, 'admin-token'), 'a-long-admin-token', { mode: 0o600 });
  for (const tcp of [false, true]) {
    const io = recordingIo();
    await runStatus({ config: home.configFile, json: true, tcp }, io);
    assert.equal(JSON.parse(io.printed.join('')).domain, 'relay.localhost');
    const listed = recordingIo();
    await runCertList({ config: home.configFile, tcp }, listed);
    assert.match(listed.printed.join(''), /relay\.localhost/);
  }
  const socketPath = join(home.config.stateDir, 'control.sock');
  assert.equal(statSync(socketPath).mode & 0o777, 0o600);
  const ready = await fetchText({ socketPath, path: '/readyz' });
  assert.deepEqual(ready, [200, 'ready\n']);
  assert.equal((await fetchText({ socketPath, path: '/api/v1/status', method: 'DELETE' }))[0], 405);
  assert.equal((await fetchText({ socketPath, path: '/nothing' }))[0], 404);
});

async function fetchText(options: RequestOptions): Promise<[status: number | undefined, body: string]> {
  const asked = request({ ...options, agent: false }).end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  let body = '';
  for await (const chunk of response) body += chunk;
  return [response.statusCode, body];
}

test('no path of the document is told to another web site, or under a name that DNS was bent to', async (t) => {
  const relay = await new RelayHome(t).start(t);
  for (const { path, method } of operations) {
    const asked = EXAMPLES.get(path) ?? path;
    const headers = { [ACTION_FIELD]: '1' };
    assert.equal((await ask(relay, method, asked, { ...headers, host: 'rebound.example' })).status, 421, path);
    assert.equal((await ask(relay, method, asked, { ...headers, origin: 'https://evil.example' })).status, 403, path);
    assert.equal((await ask(relay, method, asked, { ...headers, 'sec-fetch-site': 'cross-site' })).status, 403, path);
    if (method === 'POST') assert.equal((await ask(relay, method, asked)).status, 403, path);
  }
});

test('an admin listener that others can reach is warned of, unless it has a token', async (t) => {
  const { log, lines } = watchedLog();
  const home = new RelayHome(t, { log });
  const open = { ...home.config, listen: { ...home.config.listen, admin: { host: '0.0.0.0', port: 0 } } };
  const warnings = () => lines.filter((line) => line.includes('everybody who reaches the admin listener')).length;
  const relay = await Relay.start(home.config, log);
  t.after(() => relay.close());
  assert.equal(warnings(), 0);
  await relay.reload(open);
  assert.equal(warnings(), 1);
  await relay.reload(home.config);
  writeFileSync(join(home.config.stateDir, 'admin-token'), 'a-long-admin-token', { mode: 0o600 });
  await relay.reload(open);
  assert.equal(warnings(), 1);
});
