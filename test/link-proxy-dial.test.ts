/** The link through a proxy: a real one, and ones that mean no good. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { TunnelError } from '../shared/errors.js';
import { Secret } from '../shared/secret.js';
import { connectThrough } from '../tunnel-client/proxy/connect-through.js';
import { endConnections, listen } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { ToolProcess } from './support/tool-process.js';
import { until, within } from './support/within.js';
import { DOMAIN, RelayHome, RunningProgram, TUNNEL_PROGRAM, writeTunnelConfig } from './support/world.js';

const TUNNEL = `{ name: app, host: app.${DOMAIN}, origin: "http://127.0.0.1:1" }`;

/** A proxy that answers each request head as the test says; resolves with its port. */
async function startProxy(t: TestContext, answer: (socket: Socket, head: string) => void): Promise<number> {
  const server = createServer((socket) => {
    let head = '';
    socket.on('data', (chunk) => {
      const isNew = !head.includes('\r\n\r\n');
      head += chunk.toString('latin1');
      if (isNew && head.includes('\r\n\r\n')) answer(socket, head);
    });
  });
  endConnections(t, server);
  return listen(t, server);
}

function dial(port: number, changes: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<Socket> {
  const proxy = { address: { host: '127.0.0.1', port }, tls: false, login: new Secret('me:hunter2'), from: 'test' };
  const target = { host: 'relay.example.com', port: 443 };
  return connectThrough({ proxy, target, timeoutMs: 5_000, signal: new AbortController().signal, ...changes });
}

async function assertFails(dialled: Promise<Socket>, message: RegExp): Promise<void> {
  await assert.rejects(dialled, (error) => {
    assert.ok(error instanceof TunnelError && error.code === 'LINK_LOST');
    assert.match(error.message, /^Cannot reach the relay through proxy http:\/\/127\.0\.0\.1:\d+: /);
    assert.match(error.message, message);
    assert.doesNotMatch(error.message, /hunter2|bWU6/);
    return true;
  });
}

test('the proxy is asked for the relay by name, with the login, and the socket is handed over unread', async (t) => {
  let asked = '';
  const port = await startProxy(t, (socket, head) => {
    asked = head;
    socket.write('HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n');
    socket.on('data', (chunk) => socket.write(chunk));
  });
  const socket = await dial(port);
  t.after(() => socket.destroy());
  assert.match(asked, /^CONNECT relay\.example\.com:443 HTTP\/1\.1\r\nHost: relay\.example\.com:443\r\n/);
  assert.match(asked, /\r\nProxy-Authorization: Basic bWU6aHVudGVyMg==\r\n/);
  socket.write('ping');
  socket.resume();
  assert.equal(String((await once(socket, 'data'))[0]), 'ping');
});

const ANSWERS: Record<string, [string, RegExp]> = {
  'wants a login': [
    'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n',
    /407.*proxy_login/,
  ],
  'forbids the relay': ['HTTP/1.1 403 Forbidden\r\n\r\n', /403\. It does not allow/],
  'has another trouble': ['HTTP/1.1 599 \r\n\r\n', /599\. Look at its log/],
  'is no HTTP server': ['220 mail.example ESMTP\r\n\r\n', /no HTTP/],
  'speaks before TLS': ['HTTP/1.1 200 OK\r\n\r\nextra', /bytes of its own/],
  'answers with a page': ['HTTP/1.1 301 Moved\r\nLocation: http://login.hotel/\r\n\r\n', /301/],
};

for (const [what, [answer, message]] of Object.entries(ANSWERS)) {
  test(`a proxy that ${what} is told from a relay that is down`, async (t) => {
    await assertFails(dial(await startProxy(t, (socket) => void socket.write(answer))), message);
  });
}

test('a head without an end costs 16 KiB and no more', async (t) => {
  let sentBytes = 0;
  const closed = new Promise<void>((resolve) => {
    void startProxy(t, (socket) => {
      const piece = `X-Endless: ${'a'.repeat(1_000)}\r\n`;
      socket.write('HTTP/1.1 200 OK\r\n');
      const more = () => {
        if (socket.destroyed) return;
        sentBytes += piece.length;
        socket.write(piece, more);
      };
      socket.once('close', resolve);
      more();
    }).then((port) => assertFails(dial(port), /longer than 16384 bytes/));
  });
  await within('the proxy is hung up on', closed);
  assert.ok(sentBytes < 10_000_000);
});

test('a proxy that hangs, drips or hangs up is given up', async (t) => {
  await assertFails(dial(await startProxy(t, () => {}), { timeoutMs: 150 }), /no answer in 150 ms/);
  const dripping = await startProxy(t, (socket) => {
    const drip = setInterval(() => socket.write('H'), 10);
    socket.once('close', () => clearInterval(drip));
  });
  await assertFails(dial(dripping, { timeoutMs: 150 }), /no answer in 150 ms/);
  await assertFails(dial(await startProxy(t, (socket) => socket.destroy())), /hung up/);
  await assertFails(
    dial(await freePort()),
    /nothing listens there \(ECONNREFUSED\)\. Mend the proxy, or correct test\.$/,
  );
});

test('a dial through a proxy can be stopped', async (t) => {
  const stop = new AbortController();
  const dialled = dial(await startProxy(t, () => stop.abort()), { signal: stop.signal });
  await assertFails(dialled, /stopped/);
  await assertFails(dial(await startProxy(t, () => {}), { signal: AbortSignal.abort() }), /stopped/);
});

test('tunnel up goes through a real proxy with a login, from a variable, and is refused without it', async (t) => {
  const tinyproxy = requireTool(t, 'tinyproxy', 'tinyproxy');
  if (tinyproxy === undefined) return;
  const relay = await new RelayHome(t).start(t);
  const folder = temporaryFolder(t);
  const port = await freePort();
  const config = join(folder, 'tinyproxy.conf');
  writeFileSync(config, `Port ${port}\nListen 127.0.0.1\nTimeout 60\nBasicAuth me hunter2\nLogLevel Info\n`);
  const proxy = new ToolProcess(t, tinyproxy, ['-d', '-c', config]);
  await proxy.line('Accepting connections');
  const https = relay.port('https');
  const file = writeTunnelConfig(folder, https, relay.home, [TUNNEL], { yaml: 'links: 2' });
  // Loopback by its other name, for which the variables count.
  writeFileSync(file, readFileSync(file, 'utf8').replace('"127.0.0.1:', '"0.0.0.0:'));
  const up = (login: string, ...flags: string[]) => {
    const env = { HTTPS_PROXY: `http://${login}127.0.0.1:${port}`, NO_PROXY: '', no_proxy: '', https_proxy: '' };
    const args = ['up', '--json', '--config', file, ...flags];
    return new RunningProgram(t, TUNNEL_PROGRAM, args, { ...env, XDG_RUNTIME_DIR: temporaryFolder(t) });
  };

  const refused = up('', '--once');
  assert.equal(await refused.exited, 69);
  assert.match(refused.lines.join('\n'), /answered 407/);

  const client = up('me:hunter2@');
  await client.line('"event":"up"');
  await proxy.line(`CONNECT 0.0.0.0:${https}`);
  const links = await until('both links', () => {
    const count = relay.relay.status().sessions[0]?.links.length;
    return count === 2 ? count : undefined;
  });
  assert.equal(links, 2);
  client.child.kill('SIGTERM');
  assert.equal(await client.exited, 0);
  assert.doesNotMatch([...refused.lines, ...client.lines].join('\n'), /hunter2|bWU6aHVudGVyMg/);
});
