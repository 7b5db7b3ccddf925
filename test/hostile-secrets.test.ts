/** After everything that can go wrong with a token has gone wrong: no log, argument or status says a secret, or lies. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { makeGrants } from '../relay-server/sessions/grants.js';
import { createLog } from '../shared/log.js';
import type { Secret } from '../shared/secret.js';
import { generateToken } from '../shared/token.js';
import { assertServes, attackedWorld, HOST } from './support/attack.js';
import { APP, appTunnel, talkToRelay } from './support/carry.js';
import { HostileLink } from './support/hostile-link.js';
import { RecordingOrigin } from './support/recording-origin.js';
import { statusOf } from './support/relay-probe.js';
import { skipFor } from './support/require-tool.js';
import { within } from './support/within.js';
import { RelayHome, startRelayProcess, startTunnelProcess } from './support/world.js';

/** The token itself, and the part of it that could log in. */
function secretsOf(token: Secret): string[] {
  const text = token.reveal();
  return [text, text.split('.')[2] ?? ''];
}

function assertSilent(where: string, text: string, secrets: readonly string[]): void {
  for (const secret of secrets) assert.equal(text.includes(secret), false, `${where} says a secret`);
  // Neither a seed nor a signature of anybody else, nor anything else as long in base64url or hexadecimal.
  assert.doesNotMatch(text.replaceAll(/-----[^-]*-----/g, ''), /[\w-]{43,}/, where);
}

test('logs at level debug hold no token, seed, signature or credential, whatever was attempted with them', async (t) => {
  const { relay, logs } = await attackedWorld(t);
  const { tokens } = relay.home;
  const granted = tokens.create('mine', makeGrants(['mine.localhost'], [])).text;
  const expired = tokens.create('expired', makeGrants([], []), Date.now() - 1).text;
  const unknown = generateToken().text;
  const secrets = [relay.home.token, granted, expired, unknown].flatMap(secretsOf);
  for (const [token, lies] of [
    [unknown, {}],
    [expired, {}],
    [granted, { signature: randomBytes(64) }],
    [granted, { sessionId: 'none' }],
    [granted, { version: 2 }],
    [granted, {}],
  ] as const) {
    const link = await HostileLink.open(t, relay);
    const proof = await link.proof(token, lies);
    secrets.push(String(proof.signature), String(proof.exporter));
    link.send(proof);
    link.send({ type: 'claim', name: 'a', host: APP });
    link.send({ type: 'nonsense', token: token.reveal() });
    await link.closed;
  }
  const visitor = await talkToRelay(t, relay);
  const credentials = 'Authorization: Bearer abcdefgh\r\nCookie: session=ijklmnop\r\n';
  visitor.send(`GET /?token=${granted.reveal()} HTTP/1.1\r\n${HOST}${credentials}\r\n`);
  assert.equal((await visitor.response()).status, 200);
  visitor.send(`GET /${granted.reveal()} HTTP/1.1\r\n${HOST}${credentials}Bad Field: x\r\n\r\n`);
  assert.equal((await visitor.response()).status, 400);
  await assertServes(t, relay);
  assert.ok(logs.length > 10);
  assertSilent('log', logs.join(''), [...secrets, 'abcdefgh', 'ijklmnop']);
});

test('neither program has a token among its arguments, in its output or in its status', async (t) => {
  const home = new RelayHome(t, { yaml: 'log: { level: debug }' });
  const origin = await RecordingOrigin.start(t);
  const { program, https, admin } = await startRelayProcess(t, home);
  const client = await startTunnelProcess(t, https, home, [appTunnel(origin.url)], { yaml: 'log: { level: debug }' });
  const secrets = secretsOf(home.token);
  for (const { pid, lines } of [program, client]) {
    let commandLine: string;
    try {
      commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    } catch {
      return skipFor(t, 'no /proc here');
    }
    assert.match(commandLine, /main\.js/);
    assertSilent('command line', commandLine.replaceAll('/', ' '), secrets);
    assertSilent('output', lines.join('\n').replaceAll('/', ' '), secrets);
  }
  assertSilent('status', JSON.stringify(await statusOf(admin)), secrets);
});

test('what strangers say stands in a text log as one harmless line each', async (t) => {
  const lines: string[] = [];
  const log = createLog({ level: 'debug', format: 'text', destination: { write: (line) => lines.push(line) } });
  const home = new RelayHome(t, { log });
  const relay = await home.start(t);
  const evil = '\u001b[2J\u001b]0;evil\u0007\r\n2026-01-01 INFO  relay stopped \u202e\u0000\u009b31m';
  const link = await HostileLink.open(t, relay);
  link.send({ ...(await link.proof(home.token, { clientId: evil })), agent: evil });
  await within('welcome', link.message('welcome'));
  await link.claim({ name: evil, host: APP });
  await link.claim({ name: 'a', host: evil });
  link.send(evil);
  await link.closed;
  const stranger = await HostileLink.open(t, relay);
  stranger.send({ ...(await stranger.proof(home.token, { tokenId: evil })), agent: evil });
  await stranger.closed;
  assert.ok(lines.length > 5);
  for (const line of lines) {
    assert.match(line, /^\S+ +(?:DEBUG|INFO|WARN|ERROR) /);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these must not be there.
    assert.doesNotMatch(line.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/);
  }
  assert.ok(
    lines.some((line) => line.includes('\\u001b[2J')),
    'what was said is there, escaped',
  );
});
