/** Clients with a good token that want more than it grants: each claim is denied, and nobody else's address is touched. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { makeGrants } from '../relay-server/sessions/grants.js';
import {
  type AttackedWorld,
  assertOnlyGood,
  assertServes,
  attackedWorld,
  forbidWarnings,
  GOOD,
} from './support/attack.js';
import { APP, talkToRelay } from './support/carry.js';
import { HostileLink, type Message } from './support/hostile-link.js';
import { connectPlain } from './support/raw-tls.js';
import { until, within } from './support/within.js';

const HOSTS = ['mine.relay.localhost', '*.mine.localhost', 'xn--bcher-kva.localhost'];

interface ClaimWorld extends AttackedWorld {
  /** A session of a token that may claim HOSTS and `port`. */
  readonly link: HostileLink;
  readonly port: number;
}

async function claimWorld(t: TestContext, limits?: string, hosts: readonly string[] = HOSTS): Promise<ClaimWorld> {
  const world = await attackedWorld(t, limits);
  const port = await freePort();
  const token = world.relay.home.tokens.create('mine', makeGrants(hosts, [String(port)])).text;
  const link = await HostileLink.proven(t, world.relay, token);
  return { ...world, link, port };
}

/** Asked once, answered once. */
async function answerTo(link: HostileLink, claim: Message): Promise<string> {
  const { type, code, url } = await within('answer to a claim', link.claim(claim));
  return type === 'claimed' ? String(url) : String(code);
}

const NOT_GRANTED = [
  ...['relay.localhost', 'RELAY.Localhost', 'relay.localhost.', APP, 'APP.relay.localhost.', 'other.relay.localhost'],
  ...['*.relay.localhost', '*.localhost', 'mine.localhost', 'a.b.mine.localhost', '*.a.mine.localhost'],
  ...[
    'xmine.relay.localhost',
    'mine.relay.localhost.evil.com',
    'evil.com',

    'bucher.localhost',
  ],
];

/** No hostnames at all. */
const NO_HOSTS = [
  ...['', '.', '*', '*.', '*.com', '*.*.mine.localhost', 'a.*.mine.localhost', '*a.mine.localhost', '.mine.localhost'],
  ...[
    'a..mine.localhost',
    'a.mine.localhost..',
    'a.mine.localhost:443',
    'a.mine.localhost/',
    'https://a.mine.localhost',
  ],
  ...['a.mine.localhost\0', 'a.mine.localhost\r\nX: y', ' a.mine.localhost', 'a mine.localhost', '-a.mine.localhost'],
  ...[
    'a_b.mine.localhost',
    '127.0.0.1',
    '[::1]',
    '::1',
    '1.2.3',
    'localhost.onion',
    'a.invalid',
    'com',
    '__proto__',
    'xn--bcher-kvb.localhost',
  ],
  ...[
    `${'a'.repeat(64)}.mine.localhost`,
    `${'a.'.repeat(120)}mine.localhost`,
    'x'.repeat(1_000),
    '\ud800.mine.localhost',
  ],
];

test('a hostname that is not granted is denied, in every way of writing it', async (t) => {
  forbidWarnings(t);
  const world = await claimWorld(t);
  const { link, relay } = world;
  for (const host of NOT_GRANTED) assert.equal(await answerTo(link, { name: 'a', host }), 'NOT_GRANTED', host);
  for (const host of NO_HOSTS) {
    assert.equal(await answerTo(link, { name: 'a', host }), 'CONFIG_INVALID', JSON.stringify(host));
  }
  assert.equal([...relay.relay.status().tunnels].filter(({ state }) => state === 'online').length, 1);
  await assertServes(t, relay);
  await assertOnlyGood(world.origin, 1);
});

test('what is granted is granted in every way of writing it, in one form', async (t) => {
  const { link } = await claimWorld(t);
  for (const [host, stored] of [
    ['mine.relay.localhost', 'mine.relay.localhost'],
    ['MINE.Relay.LOCALHOST.', 'mine.relay.localhost'],
    ['a.mine.localhost', 'a.mine.localhost'],
    ['Ａ.mine。localhost', 'a.mine.localhost'],
    ['*.mine.localhost', '*.mine.localhost'],
    ['bücher.localhost', 'xn--bcher-kva.localhost'],
    ['XN--BCHER-KVA.localhost', 'xn--bcher-kva.localhost'],
  ]) {
    const url = await answerTo(link, { name: 'a', host });
    assert.ok(url.startsWith(`https://${stored}`), `${host}: ${url}`);
  }
});

test('a port that is not granted is denied, and none is opened for it', async (t) => {
  const { link, relay, port } = await claimWorld(t);
  for (const tcpPort of [0, 22, 80, 443, port + 1, 65_535, 65_536, 1e15]) {
    assert.equal(await answerTo(link, { name: 'a', tcpPort }), 'NOT_GRANTED', String(tcpPort));
  }
  await assert.rejects(connectPlain(t, port), /ECONNREFUSED/);
  assert.match(await answerTo(link, { name: 'a', tcpPort: port }), /:\d+$/);
  await connectPlain(t, port);
  await assertServes(t, relay);
});

test('a claim of both kinds, of none, or with wrong types ends the link', async (t) => {
  const world = await attackedWorld(t);
  const token = world.relay.home.tokens.create('mine', makeGrants(HOSTS, [])).text;
  for (const claim of [
    { name: 'a' },
    { name: 'a', host: 'mine.relay.localhost', tcpPort: 22 },
    { name: 'a', host: 7 },
    { name: 'a', tcpPort: '22' },
    { name: 'a', tcpPort: -1 },
    { name: 'a', tcpPort: 1.5 },
    { name: 7, host: 'mine.relay.localhost' },
    { host: 'mine.relay.localhost' },
    { name: 'x'.repeat(1_025), host: 'mine.relay.localhost' },
    { name: 'a', host: 'mine.relay.localhost', responseTimeoutMs: -1 },
  ]) {
    const link = await HostileLink.proven(t, world.relay, token);
    link.send({ type: 'claim', ...claim });
    assert.deepEqual(await within('close', link.closed), { code: 1002, reason: 'PROTOCOL_VIOLATION' });
  }
  await assertServes(t, world.relay);
});

test('a tunnel’s name that no Opening can carry is denied, and reaches no log as it is', async (t) => {
  const { link, relay, logs } = await claimWorld(t);
  const names = ['', 'a b', 'a\nb', '\u001b[31mred', 'a\0', 'ä', '\u202eevil', 'x'.repeat(321), '\ud800'];
  for (const name of names) {
    assert.equal(
      await answerTo(link, { name, host: 'mine.relay.localhost' }),
      'PROTOCOL_VIOLATION',
      JSON.stringify(name),
    );
  }
  for (const hostHeader of ['', 'a b', 'a\r\nX-Evil: 1', 'a,b', 'user@a', 'a/b', 'a:99999']) {
    const claim = { name: 'a', host: 'mine.relay.localhost', hostHeader };
    assert.equal(await answerTo(link, claim), 'PROTOCOL_VIOLATION', JSON.stringify(hostHeader));
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these must not be there.
  for (const line of logs) assert.doesNotMatch(line.trimEnd(), /[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/);
  assert.match(await answerTo(link, { name: '!"\\~', host: 'mine.relay.localhost' }), /^https:/);
  await assertServes(t, relay);
});

test('no more tunnels than the limit, whether claimed one by one or all at once, and not by claiming one name twice', async (t) => {
  const { link, relay } = await claimWorld(t, '{ tunnels_per_session: 5 }');
  const online = () =>
    relay.relay.status().tunnels.filter(({ state, public: at }) => state === 'online' && at.includes('mine'));
  for (let count = 0; count < 20; count += 1)
    link.send({ type: 'claim', name: `n${count}`, host: `h${count}.mine.localhost` });
  const answers = await Promise.all(Array.from({ length: 20 }, (_, count) => answered(link, `n${count}`)));
  assert.equal(answers.filter((answer) => answer === 'claimed').length, 5);
  assert.equal(answers.filter((answer) => answer === 'LIMIT_EXCEEDED').length, 15);
  link.send({ type: 'leave' });
  await until('release', () => (online().length === 0 ? true : undefined));
  for (let count = 0; count < 50; count += 1)
    link.send({ type: 'claim', name: 'same', host: `s${count}.mine.localhost` });
  const last = () => online().find(({ public: at }) => at.includes('s49.mine'));
  // The local CA makes its certificates one after the other, and the newest is the last of fifty.
  await until('newest claim', last);
  assert.equal(online().length, 1);
  await assertServes(t, relay);
});

/** `claimed`, or the code of the denial. */
async function answered(link: HostileLink, name: string): Promise<string> {
  return until(`answer for ${name}`, () => {
    const answer = link.messages.find((message) => message.name === name);
    return answer && String(answer.type === 'claimed' ? 'claimed' : answer.code);
  });
}

test('what is claimed, released and claimed in one breath leaves nothing behind that nobody owns', async (t) => {
  const { link, relay, port } = await claimWorld(t);
  for (let count = 0; count < 20; count += 1) {
    link.send({ type: 'claim', name: 'a', host: `h${count}.mine.localhost` });
    link.send({ type: 'claim', name: 'p', tcpPort: port });
    link.send({ type: 'release', name: 'a' });
    link.send({ type: 'release', name: 'p' });
  }
  link.send({ type: 'claim', name: 'a', host: 'last.mine.localhost' });
  await answered(link, 'a');
  link.webSocket.terminate();
  await until('end of the session', () => (relay.relay.status().sessions.length === 1 ? true : undefined));
  const online = relay.relay.status().tunnels.filter(({ state }) => state === 'online');
  assert.deepEqual(
    online.map(({ name }) => name),
    ['app'],
  );
  await assert.rejects(connectPlain(t, port), /ECONNREFUSED/);
});

test('an address is its client’s alone, while it is online and while it is held', async (t) => {
  const { relay } = await attackedWorld(t);
  const { tokens } = relay.home;
  const token = tokens.create('mine', makeGrants(HOSTS, [])).text;
  const rival = await HostileLink.proven(t, relay, tokens.create('rival', makeGrants(['*.relay.localhost'], [])).text);
  const sibling = await HostileLink.proven(t, relay, token, { clientId: 'sibling' });
  const owner = await HostileLink.proven(t, relay, token);
  const claim = { name: 'a', host: 'mine.relay.localhost' };
  assert.match(await answerTo(owner, claim), /^https:/);
  for (const other of [rival, sibling]) assert.equal(await answerTo(other, claim), 'HOSTNAME_TAKEN');
  assert.equal(await answerTo(rival, { name: 'b', host: APP }), 'HOSTNAME_TAKEN');
  owner.webSocket.terminate();
  const mine = () => relay.relay.status().tunnels.find(({ public: at }) => at.includes('mine.relay'));
  await until('hold', () => (mine()?.state === 'held' ? true : undefined));
  for (const other of [rival, sibling]) assert.equal(await answerTo(other, claim), 'HOSTNAME_TAKEN');
  const back = await HostileLink.proven(t, relay, token);
  assert.match(await answerTo(back, claim), /^https:/);
  await assertServes(t, relay);
});

test('a revoked token ends its session within a second, and its visitors and claims with it', async (t) => {
  const { link, relay } = await claimWorld(t);
  assert.match(await answerTo(link, { name: 'a', host: 'mine.relay.localhost' }), /^https:/);
  const visitor = await talkToRelay(t, relay, { servername: 'mine.relay.localhost' });
  visitor.send(GOOD.replaceAll(APP, 'mine.relay.localhost'));
  await link.stream();
  relay.home.tokens.revoke('mine');
  assert.deepEqual(await within('end of the session', link.closed), { code: 4401, reason: 'TOKEN_REJECTED' });
  assert.equal((await within('answer', visitor.response())).status, 502);
  await assertServes(t, relay);
});
