/** The admin listener answers the operator, and no web page that the operator has open. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import { connect, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { AdminListener } from '../relay-server/ops/admin-listener.js';
import { ACTION_FIELD, type Readiness } from '../shared/admin-server.js';
import { TunnelError } from '../shared/errors.js';
import { Secret } from '../shared/secret.js';
import { adminSubject, relayStatus } from './support/relay-status.js';

interface Reply {
  readonly status: number | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

async function listen(t: TestContext, ready: Readiness = true, host = '127.0.0.1'): Promise<AdminListener> {
  const admin = await AdminListener.listen({ host, port: 0 }, adminSubject({ ready: () => ready }));
  t.after(() => admin.close());
  return admin;
}

async function ask(
  admin: AdminListener,
  path: string,
  headers: OutgoingHttpHeaders = {},
  method = 'GET',
): Promise<Reply> {
  const { host, port } = admin.address;
  const asked = request({ host, port, path, headers, method, agent: false }).end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  let body = '';
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode, headers: response.headers, body };
}

test('/healthz says that the process lives', async (t) => {
  const reply = await ask(await listen(t), '/healthz');
  assert.deepEqual([reply.status, reply.body], [200, 'ok\n']);
  assert.equal(reply.headers['cache-control'], 'no-store');
  assert.equal(reply.headers['x-content-type-options'], 'nosniff');
});

test('/readyz says whether visitors may come, and why not', async (t) => {
  const ready = await ask(await listen(t), '/readyz');
  assert.deepEqual([ready.status, ready.body], [200, 'ready\n']);
  const draining = await ask(await listen(t, { check: 'draining', reason: 'relay is draining' }), '/readyz');
  assert.deepEqual([draining.status, draining.body], [503, 'not ready: relay is draining\n']);
});

test('where there is an admin token, /readyz tells strangers which check fails, and the rest to who has it', async (t) => {
  const ready = () => ({ check: 'certificate', reason: 'no certificate for vault.example.com: the CA said 10.0.0.7' });
  let token: () => Secret = () => new Secret('a-long-admin-token');
  const admin = await AdminListener.listen(
    { host: '127.0.0.1', port: 0 },
    adminSubject({ ready, adminToken: () => token() }),
  );
  t.after(() => admin.close());
  const bodyFor = async (authorization?: string) => {
    const { status, body } = await ask(admin, '/readyz', authorization === undefined ? {} : { authorization });
    assert.equal(status, 503);
    return body;
  };
  assert.equal(await bodyFor(), 'not ready: certificate\n');
  assert.equal(await bodyFor('Bearer a-long-admin-tokem'), 'not ready: certificate\n');
  assert.equal(await bodyFor('Bearer a-long-admin-token'), `not ready: ${ready().reason}\n`);
  token = () => {
    throw new Error('its file is gone');
  };
  assert.equal(await bodyFor('Bearer a-long-admin-token'), 'not ready: certificate\n');
});

test('/api/v1/status is the snapshot as JSON', async (t) => {
  const reply = await ask(await listen(t), '/api/v1/status?pretty');
  assert.equal(reply.headers['content-type'], 'application/json; charset=utf-8');
  assert.deepEqual(JSON.parse(reply.body), JSON.parse(JSON.stringify(relayStatus())));
});

test('HEAD gives the head alone; unknown paths and other methods are refused', async (t) => {
  const admin = await listen(t);
  const head = await ask(admin, '/healthz', {}, 'HEAD');
  assert.deepEqual([head.status, head.body, head.headers['content-length']], [200, '', '3']);
  assert.equal((await ask(admin, '/api/v1/nothing')).status, 404);
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const reply = await ask(admin, '/healthz', {}, method);
    assert.deepEqual([reply.status, reply.headers.allow], [405, 'GET, HEAD'], method);
  }
});

test('a Host that DNS could have bent to us is refused', async (t) => {
  const admin = await listen(t);
  const hosts: [host: string, status: number][] = [
    ['127.0.0.1', 200],
    ['127.0.0.1:9180', 200],
    ['[::1]:9180', 200],
    ['192.0.2.7', 200],
    ['localhost:9180', 200],
    ['LOCALHOST', 200],
    ['evil.example', 421],
    ['evil.example:9180', 421],
    ['localhost.evil.example', 421],
    ['127.0.0.1.evil.example', 421],
    ['evil.example@127.0.0.1', 421],
  ];
  for (const [host, status] of hosts) {
    assert.equal((await ask(admin, '/api/v1/status', { host })).status, status, host);
  }
});

test('a request without Host is refused', async (t) => {
  const admin = await listen(t);
  for (const head of ['GET /healthz HTTP/1.0\r\n\r\n', 'GET /healthz HTTP/1.1\r\nHost:\r\n\r\n']) {
    const socket = connect(admin.address.port, admin.address.host);
    t.after(() => socket.destroy());
    socket.write(head);
    assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 421 /);
  }
});

test('the name that the listener was told to listen on is its own', async (t) => {
  const admin = await listen(t, true, 'localhost');
  assert.equal((await ask(admin, '/healthz', { host: 'LocalHost:1' })).status, 200);
});

test('requests that a browser sends for another site are refused', async (t) => {
  const admin = await listen(t);
  const host = '127.0.0.1:9180';
  const cases: [headers: OutgoingHttpHeaders, status: number][] = [
    [{ origin: 'https://evil.example' }, 403],
    [{ origin: 'null' }, 403],
    [{ origin: 'http://127.0.0.1:3000' }, 403],
    [{ origin: 'http://127.0.0.1:9180' }, 200],
    [{ 'sec-fetch-site': 'cross-site' }, 403],
    [{ 'sec-fetch-site': 'same-site' }, 403],
    [{ 'sec-fetch-site': 'none' }, 200],
  ];
  for (const [headers, status] of cases) {
    const reply = await ask(admin, '/api/v1/status', { host, ...headers });
    assert.equal(reply.status, status, JSON.stringify(headers));
    assert.equal(reply.headers['access-control-allow-origin'], undefined);
  }
});

test('an address that is taken is named in the failure', async (t) => {
  const other = createServer().listen(0, '127.0.0.1');
  t.after(() => other.close());
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  await assert.rejects(AdminListener.listen({ host: '127.0.0.1', port }, adminSubject()), {
    code: 'CONFIG_INVALID',
    message: `Cannot listen on 127.0.0.1:${port}: EADDRINUSE. Free it or change listen.admin.`,
  });
});

test('close ends idle connections, and may be called again', async (t) => {
  const admin = await listen(t);
  const socket = connect(admin.address.port, admin.address.host);
  t.after(() => socket.destroy());
  socket.on('error', () => {});
  socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await once(socket, 'data');
  const ended = once(socket, 'close');
  await admin.close();
  await ended;
  await admin.close();
});

test('certificates are listed with times that people and scripts read', async (t) => {
  const reply = await ask(await listen(t), '/api/v1/certificates');
  const notAfter = new Date(1_800_000_000_000 + 64 * 86_400_000).toISOString();
  const none = { issuer: null, renewAt: null, lastError: null, retryAt: null };
  assert.deepEqual(JSON.parse(reply.body), [{ name: 'example.com', state: 'valid', notAfter, ...none }]);
});

test('a renewal is asked for with a field that no web page can send, and its failure says why', async (t) => {
  const renewed: string[] = [];
  const subject = adminSubject({
    renewCertificate: async (hostname) => {
      renewed.push(hostname);
      if (hostname === 'bad.example.com') throw new TunnelError('CERTIFICATE_FAILED', 'the CA is down');
    },
  });
  const admin = await AdminListener.listen({ host: '127.0.0.1', port: 0 }, subject);
  t.after(() => admin.close());
  const path = '/api/v1/certificates/app.example.com/renew';
  const field = { [ACTION_FIELD]: '1' };
  assert.equal((await ask(admin, path, {}, 'POST')).status, 403, 'as a form of another site would');
  assert.equal((await ask(admin, path, { ...field, origin: 'https://evil.example' }, 'POST')).status, 403);
  assert.equal((await ask(admin, path, { ...field, host: 'rebound.evil.example' }, 'POST')).status, 421);
  assert.equal((await ask(admin, path, field, 'GET')).status, 404);
  assert.equal((await ask(admin, path, field, 'OPTIONS')).status, 405, 'and no page is told that it may');
  assert.deepEqual(renewed, []);
  assert.equal((await ask(admin, path, field, 'POST')).status, 200);
  const wildcard = await ask(admin, '/api/v1/certificates/%2A.example.com/renew', field, 'POST');
  assert.equal(wildcard.status, 200);
  const failed = await ask(admin, '/api/v1/certificates/bad.example.com/renew', field, 'POST');
  assert.deepEqual([failed.status, JSON.parse(failed.body).message], [409, 'the CA is down']);
  assert.equal((await ask(admin, '/api/v1/certificates/%ff/renew', field, 'POST')).status, 409);
  assert.deepEqual(renewed, ['app.example.com', '*.example.com', 'bad.example.com']);
});
