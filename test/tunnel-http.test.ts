import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { get } from 'node:https';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { RelayHome } from './support/world.js';

test('a request reaches the origin with the fields that the relay sets, and its answer comes back', async (t) => {
  const origin = createServer((request, response) => response.end(JSON.stringify(request.headers)));
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  t.after(() => origin.close());
  const relay = await new RelayHome(t).start(t);
  const { port } = origin.address() as AddressInfo;
  await relay.client(t, [`{ name: app, host: app.relay.localhost, origin: "http://127.0.0.1:${port}" }`]);
  const request = get({
    host: '127.0.0.1',
    port: relay.port('https'),
    servername: 'app.relay.localhost',
    headers: { host: 'app.relay.localhost', 'x-forwarded-for': '6.6.6.6' },
    ca: relay.home.ca,
    agent: false,
  });
  const [response] = await once(request, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  const headers = JSON.parse(Buffer.concat(chunks).toString());
  assert.equal(headers.host, 'app.relay.localhost');
  assert.equal(headers['x-forwarded-for'], '127.0.0.1');
  assert.equal(headers['x-forwarded-proto'], 'https');
  assert.match(headers['x-request-id'], /^[0-9a-f]{20}$/);
});
