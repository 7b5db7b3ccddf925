/** tls: passthrough to an origin that ends TLS itself, and what passed tunnels do when client or relay go and come. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { connect, createServer } from 'node:tls';
import { freePort } from '../bench/free-port.js';
import { Conversation } from './support/conversation.js';
import { curlOptions, homeCertificate, VAULT, vaultTunnel, vaultUrl } from './support/home-tls.js';
import { startNginx } from './support/nginx.js';
import { endConnections, listen, startHttpOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { runTool } from './support/tool-process.js';
import { within } from './support/within.js';
import { RelayHome, startRelayProcess, startTunnelProcess } from './support/world.js';

const passthrough = (port: number, more = '') =>
  `{ name: vault, host: ${VAULT}, origin: "https://127.0.0.1:${port}", tls: passthrough${more} }`;

test('nginx with TLS of its own serves HTTP/2 through the tunnel, and PROXY protocol tells it the visitor', async (t) => {
  const nginx = requireTool(t, 'nginx', 'nginx-light');
  const curl = requireTool(t, 'curl', 'curl');
  if (nginx === undefined || curl === undefined) return;
  const certificate = await homeCertificate(t);
  const port = await freePort();
  const lines = [
    `server { listen 127.0.0.1:${port} ssl http2 proxy_protocol; server_name ${VAULT};`,
    `ssl_certificate ${certificate.certFile}; ssl_certificate_key ${certificate.keyFile};`,
    'location / { return 200 "$proxy_protocol_addr:$proxy_protocol_port $server_protocol $ssl_server_name"; } }',
  ];
  await startNginx(t, nginx, lines.join('\n'));
  const relay = await new RelayHome(t).start(t);
  await relay.client(t, [passthrough(port, ', proxy_protocol: v2')]);
  const format = ['-w', ' from %{local_port}', '--http2'];
  const args = [...curlOptions(relay, certificate), ...format, vaultUrl(relay, '/')];
  const { stdout, stderr } = await runTool(t, curl, args);
  const [, visitorPort] = /^127\.0\.0\.1:(\d+) HTTP\/2\.0 vault\.relay\.localhost from \d+$/.exec(stdout) ?? [];
  assert.ok(visitorPort !== undefined, stdout + stderr);
  assert.ok(stdout.endsWith(` from ${visitorPort}`), stdout);
});

test('a visitor of the challenge acme-tls/1 reaches the origin with its hello as it was sent', async (t) => {
  const certificate = await homeCertificate(t);
  const [cert, key] = [readFileSync(certificate.certFile), readFileSync(certificate.keyFile)];
  const origin = createServer({ cert, key, ALPNProtocols: ['acme-tls/1'] }, (socket) => socket.end('challenge'));
  const port = await listen(t, origin);
  endConnections(t, origin);
  const relay = await new RelayHome(t).start(t);
  await relay.client(t, [passthrough(port)]);
  const where = { host: '127.0.0.1', port: relay.port('https'), servername: VAULT, ca: certificate.ca };
  const socket = connect({ ...where, ALPNProtocols: ['acme-tls/1'] });
  t.after(() => void socket.destroy());
  assert.equal(await new Conversation(socket).rest(), 'challenge');
  assert.equal(socket.alpnProtocol, 'acme-tls/1');
});

test('a visitor who comes while a killed client is away waits for it; after a leave there is an alert', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from home'));
  const certificate = await homeCertificate(t);
  const home = new RelayHome(t);
  const { https } = await startRelayProcess(t, home);
  const tunnels = [vaultTunnel(origin.url, certificate)];
  const first = await startTunnelProcess(t, https, home, tunnels, { clientId: 'home' });
  const where = { host: '127.0.0.1', port: https, servername: VAULT, ca: certificate.ca };
  const get = `GET / HTTP/1.1\r\nHost: ${VAULT}\r\n\r\n`;
  const open = () => {
    const socket = connect(where);
    t.after(() => void socket.destroy());
    socket.write(get);
    return new Conversation(socket);
  };
  const before = open();
  assert.equal((await before.response()).body, 'from home');

  await first.kill();
  assert.notEqual(await within('end of a visitor of the killed client', before.ended()), undefined);
  const waiting = open();
  const second = await startTunnelProcess(t, https, home, tunnels, { clientId: 'home' });
  assert.equal((await within('answer', waiting.response())).body, 'from home');

  waiting.socket.destroy();
  second.child.kill('SIGTERM');
  assert.equal(await within('end of the client', second.exited), 0);
  // What Node calls the alert depends on whether it was about to write.
  assert.match(await within('alert', open().ended()), /^(?:EPROTO|ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR)$/);
});

test('a relay that was killed and started again holds the hostname until its client is back', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from home'));
  const certificate = await homeCertificate(t);
  const home = new RelayHome(t, { httpsPort: await freePort() });
  const first = await startRelayProcess(t, home);
  await startTunnelProcess(t, first.https, home, [vaultTunnel(origin.url, certificate)]);
  await first.program.kill();
  const second = await startRelayProcess(t, home);
  const socket = connect({ host: '127.0.0.1', port: second.https, servername: VAULT, ca: certificate.ca });
  t.after(() => void socket.destroy());
  await within('handshake', once(socket, 'secureConnect'));
  socket.write(`GET / HTTP/1.1\r\nHost: ${VAULT}\r\n\r\n`);
  assert.equal((await new Conversation(socket).response()).body, 'from home');
});

test('passthrough and end-to-end can be exchanged for each other, and neither for tls: relay', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from home'));
  const certificate = await homeCertificate(t);
  const relay = await new RelayHome(t).start(t);
  for (const tunnel of [passthrough(1), vaultTunnel(origin.url, certificate), passthrough(1)]) {
    const { client, done } = await relay.client(t, [tunnel]);
    await client.drain();
    await done;
  }
  const plain = `{ name: plain, host: ${VAULT}, origin: "${origin.url}" }`;
  const { done } = await relay.client(t, [plain], { noWait: true });
  await assert.rejects(done, { code: 'NOT_GRANTED' });
});
