/** `relay status`: what the operator reads about a running relay, and what when it does not run. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { doorAt } from '../relay-server/find-relay.js';
import { AdminListener } from '../relay-server/ops/admin-listener.js';
import { ControlSocket } from '../relay-server/ops/control-socket.js';
import { formatRelayStatus } from '../relay-server/ops/relay-status.js';
import { fetchRelayStatus, runStatus } from '../relay-server/status-command.js';
import { adminSubject, relayStatus } from './support/relay-status.js';

const NOW_MS = relayStatus().startedAtMs;

async function configWith(t: TestContext, admin: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-relay-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'relay.yaml');
  await writeFile(path, `domain: example.com\nstate_dir: .\nlisten: { admin: ${JSON.stringify(admin)} }\n`);
  return path;
}

/** What stands at an address where something answers every connection with `answer`. */
async function impostor(t: TestContext, answer: string): Promise<{ host: string; port: number }> {
  const server = createServer((socket) => socket.on('error', () => {}).end(answer)).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  return { host: '127.0.0.1', port: (server.address() as { port: number }).port };
}

test('the text shows sessions, tunnels, certificates and refusals', () => {
  assert.equal(
    formatRelayStatus(relayStatus(), NOW_MS),
    `Relay      example.com running, up 3m 12s, version 0.1.0
Listeners  https 0.0.0.0:443
Visitors   3 connections now, 40 in total
Streams    2 now, 38 in total

SESSIONS: 1
  ID  TOKEN   CLIENT       LINKS  RTT        STREAMS  OPEN FOR
  s1  laptop  203.0.113.9  2      12.3 ms –  2        1m 1s

TUNNELS: 1
  NAME  STATE   PUBLIC                    TLS    TOKEN   SESSION  VISITORS  REQUESTS  IN       OUT
  home  online  https://home.example.com  relay  laptop  s1       2 of 38   100       2.0 KiB  3.0 MiB

CERTIFICATES: 1
  NAME         STATE  EXPIRES
  example.com  valid  2027-03-20 (in 64 days)

REFUSALS BY CODE: 1
  CODE             COUNT
  ROUTE_NOT_FOUND  12`,
  );
});

test('a relay without anything says none, and an old certificate says expired', () => {
  const certificates = [{ name: 'old.example.com', state: 'valid', notAfterMs: NOW_MS } as const];
  const empty = relayStatus({ sessions: [], tunnels: [], refusals: {}, certificates });
  const text = formatRelayStatus(empty, NOW_MS);
  assert.match(text, /SESSIONS: none\n\nTUNNELS: none\n\n[\s\S]*\(expired\)\n\nREFUSALS BY CODE: none$/);
});

test("of an end-to-end tunnel it says that its certificate is not the relay's to know", () => {
  const [tunnel] = relayStatus().tunnels;
  const text = formatRelayStatus(
    relayStatus({ tunnels: tunnel ? [tunnel, { ...tunnel, tls: 'end-to-end' }] : [] }),
    NOW_MS,
  );
  assert.match(
    text,
    /\n {2}home {2}online .* end-to-end .*\n {2}End-to-end: whether it has its certificate is known at home/,
  );
  assert.doesNotMatch(formatRelayStatus(relayStatus(), NOW_MS), /known at home/);
});

test('the text escapes what clients chose', () => {
  const [session] = relayStatus().sessions;
  const hostile = relayStatus({ sessions: session ? [{ ...session, tokenName: '\x1b[2J\u202e' }] : [] });
  assert.doesNotMatch(formatRelayStatus(hostile).replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u);
});

test('without a control socket the command asks the admin listener of its config', async (t) => {
  const admin = await AdminListener.listen({ host: '127.0.0.1', port: 0 }, adminSubject());
  t.after(() => admin.close());
  for (const host of ['127.0.0.1', '0.0.0.0', 'localhost']) {
    const config = await configWith(t, `${host}:${admin.address.port}`);
    const lines: string[] = [];
    await runStatus({ config, json: true }, { print: (line) => void lines.push(line), note: assert.fail });
    assert.deepEqual(JSON.parse(lines.join('')), JSON.parse(JSON.stringify(relayStatus())), host);
    await runStatus({ config }, { print: (line) => void lines.push(line), note: assert.fail });
    assert.match(lines[1] ?? '', /^Relay {6}example\.com running/);
  }
});

test('a relay that does not run is LINK_LOST, and says how to start it', async (t) => {
  const gone = await AdminListener.listen({ host: '127.0.0.1', port: 0 }, adminSubject());
  await gone.close();
  const config = await configWith(t, `127.0.0.1:${gone.address.port}`);
  await assert.rejects(runStatus({ config }, { print: assert.fail, note: assert.fail }), {
    code: 'LINK_LOST',
    message: `Cannot ask the relay at 127.0.0.1:${gone.address.port}: it is not running. Start it with \`relay serve\`.`,
  });
});

test('without an admin listener the control socket is asked alone', async (t) => {
  const config = await configWith(t, 'off');
  await assert.rejects(runStatus({ config }, { print: assert.fail, note: assert.fail }), {
    code: 'LINK_LOST',
    message: `Cannot ask the relay at ${join(dirname(config), 'control.sock')}: it is not running. Start it with \`relay serve\`.`,
  });
  await assert.rejects(runStatus({ config, tcp: true }, { print: assert.fail, note: assert.fail }), {
    code: 'CONFIG_INVALID',
    message: 'Cannot ask the relay: it has no admin listener. Set listen.admin.',
  });
  const verb = () => Promise.reject(new Error('nobody asked for that'));
  const socket = await ControlSocket.open(dirname(config), { reload: verb, restart: verb }, adminSubject());
  t.after(() => socket.close());
  const lines: string[] = [];
  await runStatus({ config, json: true }, { print: (line) => void lines.push(line), note: assert.fail });
  assert.equal(JSON.parse(lines.join('')).domain, 'example.com');
});

test('another program at the admin address is LINK_LOST', async (t) => {
  const head = (body: string): string => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  for (const answer of [
    'SSH-2.0-x\r\n',
    'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n',
    head('{}'),
    head('<html>'),
  ]) {
    await assert.rejects(fetchRelayStatus(doorAt(await impostor(t, answer))), { code: 'LINK_LOST' }, answer);
  }
});

test('the newest refusal is shown with its cure, and rates where they are known', () => {
  const status = relayStatus({ lastRefusal: { code: 'TOKEN_REJECTED', atMs: NOW_MS - 65_000 } });
  const text = formatRelayStatus(status, NOW_MS, () => ({ in: 2_048, out: 10 }));
  assert.match(text, /^ {2}NAME .* IN {7}OUT {6}IN\/S {5}OUT\/S$/m);
  assert.match(text, /^ {2}home .* 2\.0 KiB {2}3\.0 MiB {2}2\.0 KiB {2}10 B$/m);
  assert.match(text, /\n\nLAST REFUSAL: TOKEN_REJECTED, 1m 5s ago\n {2}.*relay token rotate NAME/);
});

test('--watch shows it again and again, also while the relay is away', async (t) => {
  const admin = await AdminListener.listen({ host: '127.0.0.1', port: 0 }, adminSubject());
  t.after(() => admin.close());
  const config = await configWith(t, `127.0.0.1:${admin.address.port}`);
  const stop = new AbortController();
  const seen: string[] = [];
  const print = (line: string) => {
    seen.push(line);
    if (seen.length === 2) void admin.close();
    if (line.startsWith('Cannot ask the relay')) stop.abort();
  };
  await runStatus({ config, watch: true, watchEveryMs: 20, signal: stop.signal }, { print, note: assert.fail });
  assert.match(seen[0] ?? '', /^Relay {6}example\.com running[\s\S]*IN\/S/);
  assert.match(seen[1] ?? '', /^Relay {6}example\.com running/);
  assert.match(seen.at(-1) ?? '', /it is not running/);
});

test('--watch --json is one object per line, and a wrong configuration ends it', async (t) => {
  const admin = await AdminListener.listen({ host: '127.0.0.1', port: 0 }, adminSubject());
  t.after(() => admin.close());
  const config = await configWith(t, `127.0.0.1:${admin.address.port}`);
  const stop = new AbortController();
  const seen: string[] = [];
  const print = (line: string) => {
    seen.push(line);
    if (seen.length === 2) stop.abort();
  };
  await runStatus(
    { config, watch: true, json: true, watchEveryMs: 20, signal: stop.signal },
    { print, note: assert.fail },
  );
  assert.deepEqual(
    seen.map((line) => JSON.parse(line).domain),
    ['example.com', 'example.com'],
  );
  const wrong = await configWith(t, 'nowhere');
  await assert.rejects(runStatus({ config: wrong, watch: true }, { print: assert.fail, note: assert.fail }), {
    code: 'CONFIG_INVALID',
  });
});
