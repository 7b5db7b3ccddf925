/** What a relay and a client measure, as Prometheus reads it, and who may name a series. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { listenForAdmin } from '../tunnel-client/ops/admin-listener.js';
import { APP, appTunnel, startAppTunnel, talkToRelay } from './support/carry.js';
import { startVault, VAULT } from './support/home-tls.js';
import { askOver, http2Visitor } from './support/http2-visitor.js';
import { lint, scrape } from './support/metrics.js';
import { startHttpOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { until } from './support/within.js';
import { RelayHome, startRelayProcess, startTunnelProcess } from './support/world.js';

test('requests, bytes, sessions and links are counted; promtool has no complaint', async (t) => {
  const promtool = requireTool(t, 'promtool', 'prometheus');
  if (promtool === undefined) return;
  const origin = await startHttpOrigin(t, (request, response) => {
    response.statusCode = request.url === '/no' ? 404 : 200;
    response.end('hello');
  });
  const relay = await new RelayHome(t).start(t);
  await relay.client(t, [appTunnel(origin.url)]);
  const visitor = await talkToRelay(t, relay);
  for (const path of ['/', '/', '/no']) {
    visitor.send(`GET ${path} HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
    await visitor.until('hello');
  }
  const metrics = await scrape(relay.port('admin'));
  await lint(t, promtool, metrics);
  const tunnel = APP;
  assert.equal(metrics.value('sallyport_tunnel_requests_total', { tunnel, status: '200' }), 2);
  assert.equal(metrics.value('sallyport_tunnel_requests_total', { tunnel, status: '404' }), 1);
  assert.equal(metrics.value('sallyport_tunnel_request_duration_seconds_count', { tunnel }), 3);
  assert.equal(metrics.value('sallyport_tunnel_first_byte_seconds_bucket', { tunnel, le: '+Inf' }), 3);
  const { traffic } = [...relay.relay.status().tunnels].map((of) => ({ traffic: of }))[0] ?? assert.fail();
  assert.equal(metrics.value('sallyport_tunnel_bytes_total', { tunnel, direction: 'in' }), traffic.bytesIn);
  assert.equal(metrics.value('sallyport_tunnel_bytes_total', { tunnel, direction: 'out' }), traffic.bytesOut);
  assert.ok(traffic.bytesOut > 15);
  assert.equal(metrics.value('sallyport_tunnel_up', { tunnel }), 1);
  assert.equal(metrics.value('sallyport_tunnel_info', { tunnel, name: 'app', tls: 'relay' }), 1);
  assert.equal(metrics.value('sallyport_sessions', { token: 'home' }), 1);
  assert.ok((metrics.value('sallyport_links', { token: 'home' }) ?? 0) >= 1);
  assert.equal(metrics.value('sallyport_visitor_connections_total'), relay.relay.status().connections.total);
  assert.equal(metrics.value('sallyport_ready'), 1);
  assert.ok((metrics.value('sallyport_window_budget_limit_bytes') ?? 0) > 0);
  const daysLeft =
    ((metrics.value('sallyport_certificate_expiry_timestamp_seconds', { certificate: APP }) ?? 0) * 1_000 -
      Date.now()) /
    86_400_000;
  assert.ok(daysLeft > 1 && daysLeft < 1_000, `${daysLeft}`);
});

test('what strangers ask for becomes no label', async (t) => {
  const relay = await new RelayHome(t).start(t);
  await relay.client(t, [appTunnel('http://127.0.0.1:1')]);
  const before = (await scrape(relay.port('admin'))).samples.length;
  for (const name of ['evil-1.example', 'evil-2.example', 'evil-3.relay.localhost']) {
    const visitor = await talkToRelay(t, relay);
    visitor.send(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
    await visitor.until('421');
  }
  await assert.rejects(talkToRelay(t, relay, { servername: 'evil-4.example' }));
  const metrics = await scrape(relay.port('admin'));
  assert.equal(metrics.value('sallyport_unrouted_requests_total', { status: '421' }), 3);
  assert.equal(metrics.value('sallyport_refusals_total', { code: 'HOST_MISDIRECTED' }), 3);
  assert.equal(metrics.value('sallyport_refusals_total', { code: 'ROUTE_NOT_FOUND' }), 1);
  assert.doesNotMatch(metrics.text, /evil/);
  assert.deepEqual([...metrics.labels('tunnel')], [APP]);
  assert.equal(metrics.samples.length, before + 3, 'two codes and a status, however many ask');
});

test('a handshake that fails is counted', async (t) => {
  const relay = await new RelayHome(t).start(t);
  await relay.client(t, [appTunnel('http://127.0.0.1:1')]);
  await talkToRelay(t, relay);
  await assert.rejects(talkToRelay(t, relay, { ALPNProtocols: ['no-such-protocol'] }));
  const failed = await until(
    'a failed handshake',
    async () =>
      (await scrape(relay.port('admin'))).value('sallyport_tls_handshakes_total', { result: 'failed' }) || undefined,
  );
  assert.equal(failed, 1);
});

test('a tunnel whose client stopped is down like one whose client was lost', async (t) => {
  const home = new RelayHome(t, { yaml: 'limits: { hold_timeout: 100ms }' });
  const { admin, https } = await startRelayProcess(t, home);
  const lost = await startTunnelProcess(t, https, home, ['{ name: l, host: lost.relay.localhost, origin: "1" }'], {
    clientId: 'one',
  });
  const left = await startTunnelProcess(t, https, home, ['{ name: g, host: given.relay.localhost, origin: "1" }'], {
    clientId: 'two',
  });
  const up = async (host: string) =>
    (await scrape(admin)).value('sallyport_tunnel_up', { tunnel: `${host}.relay.localhost` });
  assert.deepEqual([await up('lost'), await up('given')], [1, 1]);
  left.child.kill('SIGTERM');
  await left.exited;
  await until('the tunnel is down', async () => ((await up('given')) === 0 ? true : undefined));
  await lost.kill();
  await until('the session ends', async () => ((await scrape(admin)).value('sallyport_sessions') ? undefined : true));
  assert.equal(await up('lost'), 0);
  const metrics = await scrape(admin);
  assert.equal(metrics.value('sallyport_sessions_ended_total'), 2);
  assert.equal(metrics.value('sallyport_sessions_began_total'), 2);
});

test('a client measures its tunnels, and the requests of those whose TLS it ends', async (t) => {
  const promtool = requireTool(t, 'promtool', 'prometheus');
  if (promtool === undefined) return;
  const origin = await startHttpOrigin(t, (_request, response) => response.end('hello'));
  const { relay, client, certificate } = await startVault(t, origin.url);
  const admin = await listenForAdmin({ host: '127.0.0.1', port: 0 }, client.client);
  t.after(() => admin.close());
  const visitor = await talkToRelay(t, relay, { servername: VAULT, ca: readFileSync(certificate.caFile) });
  visitor.send(`GET / HTTP/1.1\r\nHost: ${VAULT}\r\n\r\n`);
  await visitor.until('hello');
  const metrics = await scrape(admin.address.port);
  await lint(t, promtool, metrics);
  const tunnel = 'vault';
  assert.equal(metrics.value('sallyport_client_connected'), 1);
  assert.equal(metrics.value('sallyport_client_tunnel_up', { tunnel }), 1);
  assert.equal(metrics.value('sallyport_client_tunnel_requests_total', { tunnel, status: '200' }), 1);
  assert.equal(metrics.value('sallyport_client_tunnel_open_streams', { tunnel }), 1);
  assert.equal(metrics.value('sallyport_client_tls_handshakes_total', { result: 'done' }), 1);
  assert.ok((metrics.value('sallyport_client_certificate_expiry_timestamp_seconds', { tunnel }) ?? 0) > 0);
  await relay.relay.close();
  await client.event('reconnecting');
  const after = await scrape(admin.address.port);
  await lint(t, promtool, after);
  assert.equal(after.value('sallyport_client_connected'), 0);
  assert.ok((after.value('sallyport_client_reconnects_total') ?? 0) >= 1);
  assert.ok((after.value('sallyport_client_links_closed_total') ?? 0) >= 1);
});

test('lines that the access log loses are counted, at the relay and at the client', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end('hello'));
  const yaml = 'access_log: { to: file, file: /dev/full }';
  const { relay, client, certificate } = await startVault(t, origin.url, { yaml, clientYaml: yaml });
  const metricsOf = async () => [(await scrape(relay.port('admin'))).text, client.client.metrics()];
  const lost = (text: string) =>
    Number(/^sallyport_(?:client_)?access_log_dropped_lines_total (\d+)$/m.exec(text)?.[1]);
  assert.deepEqual((await metricsOf()).map(lost), [0, 0]);
  const visitor = await talkToRelay(t, relay, { servername: VAULT, ca: readFileSync(certificate.caFile) });
  visitor.send(`GET / HTTP/1.1\r\nHost: ${VAULT}\r\nConnection: close\r\n\r\n`);
  await visitor.until('hello');
  visitor.socket.destroy();
  const counts = await until('a lost line at both', async () => {
    const all = (await metricsOf()).map(lost);
    return all.every((count) => count > 0) ? all : undefined;
  });
  assert.deepEqual(counts, [1, 1]);
  assert.equal((await scrape(relay.port('admin'))).value('sallyport_audit_log_lost_records_total'), 0);
});

test('an origin that refuses is counted at the client by its code, and at the relay', async (t) => {
  const relay = await new RelayHome(t).start(t);
  const { client } = await relay.client(t, [appTunnel('http://127.0.0.1:1')]);
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  await visitor.until('502');
  assert.match(client.metrics(), /^sallyport_client_tunnel_failures_total\{tunnel="app",code="ORIGIN_REFUSED"\} 1$/m);
  const metrics = await scrape(relay.port('admin'));
  assert.equal(metrics.value('sallyport_tunnel_request_failures_total', { tunnel: APP, code: 'ORIGIN_REFUSED' }), 1);
});

test('a client with the option admin tells health and metrics, and says why it is not ready', async (t) => {
  const home = new RelayHome(t);
  const { https, program } = await startRelayProcess(t, home);
  const port = await freePort();
  const origin = await startHttpOrigin(t, (_request, response) => response.end('hello'));
  const client = await startTunnelProcess(t, https, home, [appTunnel(origin.url)], {
    yaml: `admin: 127.0.0.1:${port}`,
  });
  const ask = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return `${response.status} ${await response.text()}`;
  };
  await client.line('answering health and metrics');
  assert.equal(await ask('/healthz'), '200 ok\n');
  assert.equal(await ask('/readyz'), '200 ready\n');
  assert.equal((await scrape(port)).value('sallyport_client_tunnel_up', { tunnel: 'app' }), 1);
  assert.match(await ask('/api/v1/status'), /^200 \{"state":"serving"/);
  assert.match(await ask('/nothing'), /^404 /);
  await program.kill();
  await client.line('"event":"reconnecting"');
  assert.match(await ask('/readyz'), /^503 not ready: (?:waiting|connecting|handshaking), \w+\n$/);
});

test('requests over HTTP/2 are counted like all others', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => {
    response.statusCode = request.url === '/no' ? 404 : 200;
    request.resume().on('end', () => response.end('hello'));
  });
  const relay = await startAppTunnel(t, origin.url, { http2: 'on' });
  const visitor = await http2Visitor(t, relay);
  await askOver(visitor, { ':path': '/' });
  await askOver(visitor, { ':path': '/no' });
  const tunnel = APP;
  const metrics = await until('both requests', async () => {
    const seen = await scrape(relay.port('admin'));
    return seen.value('sallyport_tunnel_request_duration_seconds_count', { tunnel }) === 2 ? seen : undefined;
  });
  assert.equal(metrics.value('sallyport_tunnel_requests_total', { tunnel, status: '200' }), 1);
  assert.equal(metrics.value('sallyport_tunnel_requests_total', { tunnel, status: '404' }), 1);
});
