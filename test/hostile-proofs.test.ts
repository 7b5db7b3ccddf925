/** Clients that try to get in: every wrong proof ends its link with its code, and nobody learns anything from the answer. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { makeGrants } from '../relay-server/sessions/grants.js';
import type { Secret } from '../shared/secret.js';
import { generateToken, parseToken } from '../shared/token.js';
import { assertServes, attackedWorld, forbidWarnings } from './support/attack.js';
import { APP, talkToRelay } from './support/carry.js';
import { HostileLink, type ProofLies } from './support/hostile-link.js';
import { until, within } from './support/within.js';
import { DOMAIN, type RunningRelay } from './support/world.js';

/** Each attacker comes from an address of its own, so that the limit of failed proofs meets none of them. */
let attackers = 0;
function nextAddress(): string {
  attackers += 1;
  return `127.0.${1 + (attackers >> 7)}.${1 + (attackers & 127)}`;
}

/** A token beside the good client's. */
function issue(relay: RunningRelay, name: string, expiresAtMs?: number): Secret {
  return relay.home.tokens.create(name, makeGrants([`${name}.localhost`], []), expiresAtMs).text;
}

/** The link is refused with this code, said and as close reason. */
async function assertRefused(link: HostileLink, code: string, closeCode: number): Promise<string> {
  const refused = await within(`refusal ${code}`, link.message('refused'));
  assert.equal(refused.code, code);
  assert.deepEqual(await within('close', link.closed), { code: closeCode, reason: code });
  return String(refused.message);
}

const otherRelay = { relay: 'relay.example.com' };

/** Proofs that are right but for one thing. */
const WRONG_PROOFS: readonly (readonly [what: string, lies: ProofLies])[] = [
  ['a random signature', { signature: randomBytes(64) }],
  ['an empty signature', { signature: Buffer.alloc(0) }],
  ['a signature of zeros', { signature: Buffer.alloc(64) }],
  ['a signature for another nonce', { signed: { nonce: randomBytes(32) } }],
  ['a signature for another relay', { signed: otherRelay }],
  ['a signature for another token id', { signed: { tokenId: 'AAAAAAAAAAAAAAAA' } }],
  ['a signature for another client', { signed: { clientId: 'test-client' } }],
  ['a signature for another session', { signed: { sessionId: 'another' } }],
  ['a signature for another TLS connection', { signed: { exporter: randomBytes(32) } }],
  ['another TLS connection’s exporter, signed', { exporter: randomBytes(32) }],
  ['no exporter, signed', { exporter: Buffer.alloc(0) }],
];

test('a proof that is wrong in anything is rejected, and the answer never says in what', async (t) => {
  forbidWarnings(t);
  const { relay } = await attackedWorld(t);
  const token = issue(relay, 'mine');
  const expired = issue(relay, 'expired', Date.now() - 1);
  const revoked = issue(relay, 'revoked');
  relay.home.tokens.revoke('revoked');
  const attempts: [string, Secret, ProofLies][] = [
    ...WRONG_PROOFS.map(([what, lies]): [string, Secret, ProofLies] => [what, token, lies]),
    ['an unknown token', generateToken().text, {}],
    ['an unknown token and a random signature', generateToken().text, { signature: randomBytes(64) }],
    ['a token id that is none', token, { tokenId: '__proto__' }],
    ['the id of another token', token, { tokenId: parseToken(relay.home.token).id }],
    ['an expired token', expired, {}],
    ['a revoked token', revoked, {}],
  ];
  const answers = new Set<string>();
  for (const [what, credential, lies] of attempts) {
    await t.test(what, async (t) => {
      const link = await HostileLink.open(t, relay, nextAddress());
      link.send(await link.proof(credential, lies));
      answers.add(await assertRefused(link, 'TOKEN_REJECTED', 4401));
    });
  }
  assert.equal(answers.size, 1, [...answers].join('\n'));
  await HostileLink.proven(t, relay, token);
  await assertServes(t, relay);
});

test('a proof works once: not on another link, not with its own nonce, not with its own exporter', async (t) => {
  const { relay } = await attackedWorld(t);
  const token = issue(relay, 'mine');
  const first = await HostileLink.open(t, relay);
  const proof = await first.proof(token);
  const replayed = await HostileLink.open(t, relay, nextAddress());
  replayed.send(proof);
  await assertRefused(replayed, 'TOKEN_REJECTED', 4401);
  // Somebody in the middle who can make the victim sign what he wants, but cannot make two TLS connections one.
  const relayed = await HostileLink.open(t, relay, nextAddress());
  const nonce = await relayed.nonce();
  const victim = await HostileLink.open(t, relay);
  const { exporter } = victim;
  relayed.send(await victim.proof(token, { exporter, signed: { nonce } }));
  await assertRefused(relayed, 'TOKEN_REJECTED', 4401);
  first.send(proof);
  await first.message('welcome');
  first.send(proof);
  assert.deepEqual(await first.closed, { code: 1002, reason: 'PROTOCOL_VIOLATION' });
  await assertServes(t, relay);
});

const LONG = 'x'.repeat(17 * 1024);

/** What comes instead of a proof. */
const NO_PROOFS: readonly (readonly [what: string, send: (link: HostileLink) => void])[] = [
  ['bytes', (link) => link.send(Buffer.alloc(12))],
  ['no bytes', (link) => link.send(Buffer.alloc(0))],
  ['a claim', (link) => link.send({ type: 'claim', name: 'a', host: APP })],
  ['a leave', (link) => link.send({ type: 'leave' })],
  ['a message of the relay', (link) => link.send({ type: 'welcome', sessionId: 'x' })],
  ['an unknown message', (link) => link.send({ type: 'hello' })],
  ['a message without a type', (link) => link.send({})],
  ['no JSON', (link) => link.send('proof')],
  ['a list', (link) => link.send('[]')],
  ['null', (link) => link.send('null')],
  ['nothing', (link) => link.send('')],
  ['deep JSON', (link) => link.send(`${'['.repeat(8_000)}${']'.repeat(8_000)}`)],
  ['a proof without fields', (link) => link.send({ type: 'proof' })],
  ['a proof with wrong types', (link) => link.send('{"type":"proof","version":"1","tokenId":{},"clientId":[]}')],
  ['a proof with its fields in __proto__', (link) => link.send('{"type":"proof","__proto__":{"version":1}}')],
  ['a message of 17 KiB', (link) => link.send({ type: 'proof', agent: LONG })],
];

test('whatever comes instead of a proof ends the link with its code', async (t) => {
  forbidWarnings(t);
  const { relay } = await attackedWorld(t);
  for (const [what, send] of NO_PROOFS) {
    await t.test(what, async (t) => {
      const link = await HostileLink.open(t, relay, nextAddress());
      send(link);
      // A message that is too long is not even answered with another one.
      assert.deepEqual(await within('close', link.closed), { code: 1002, reason: 'PROTOCOL_VIOLATION' });
    });
  }
  for (const [what, send, code] of [
    ['a message of 1 MiB', (link: HostileLink) => link.send('x'.repeat(1 << 20)), 1009],
    ['text that is no UTF-8', (link: HostileLink) => link.webSocket.send(Buffer.of(0xff), { binary: false }), 1007],
  ] as const) {
    const link = await HostileLink.open(t, relay, nextAddress());
    send(link);
    assert.equal((await within(what, link.closed)).code, code, what);
  }
  const outdated = await HostileLink.open(t, relay, nextAddress());
  outdated.send(await outdated.proof(issue(relay, 'mine'), { version: 2 }));
  await assertRefused(outdated, 'VERSION_UNSUPPORTED', 4426);
  await assertServes(t, relay);
});

test('nobody joins a session that is not his: another token, another client, no session', async (t) => {
  const { relay, client } = await attackedWorld(t);
  const token = issue(relay, 'mine');
  const foreign = client.client.status().sessionId ?? '';
  const own = await HostileLink.open(t, relay);
  own.send(await own.proof(token));
  const { sessionId } = await own.message('welcome');
  const attempts: [Secret, ProofLies][] = [
    [token, { sessionId: foreign }],
    [token, { sessionId: foreign, clientId: 'test-client' }],
    [token, { sessionId: String(sessionId), clientId: 'other' }],
    [token, { sessionId: 'none' }],
    [relay.home.token, { sessionId: foreign, clientId: 'other' }],
  ];
  for (const [credential, lies] of attempts) {
    const link = await HostileLink.open(t, relay, nextAddress());
    link.send(await link.proof(credential, lies));
    await assertRefused(link, 'SESSION_UNKNOWN', 4404);
  }
  await HostileLink.proven(t, relay, token, { sessionId: String(sessionId) });
  await assertServes(t, relay);
});

test('a link without a proof is ended in its limit, also when its peer answers no close', async (t) => {
  const { relay } = await attackedWorld(t, '{ link_handshake_timeout: 300ms }');
  const silent = await HostileLink.open(t, relay, nextAddress());
  const slow = await HostileLink.open(t, relay, nextAddress());
  const timer = setInterval(() => slow.webSocket.ping(), 50);
  t.after(() => clearInterval(timer));
  const deaf = await HostileLink.open(t, relay, nextAddress());
  deaf.socket.pause();
  await assertRefused(silent, 'HANDSHAKE_TIMEOUT', 4408);
  await assertRefused(slow, 'HANDSHAKE_TIMEOUT', 4408);
  await until('the deaf link’s end', () => (relay.relay.status().connections.now === 2 ? true : undefined));
  await assertServes(t, relay);
});

test('after five wrong proofs an address is refused unread, whatever it brings, and others are not', async (t) => {
  const { relay } = await attackedWorld(t);
  const token = issue(relay, 'mine');
  const address = nextAddress();
  for (let count = 0; count < 5; count += 1) {
    const link = await HostileLink.open(t, relay, address);
    link.send(await link.proof(token, { signature: randomBytes(64) }));
    await assertRefused(link, 'TOKEN_REJECTED', 4401);
  }
  for (let count = 0; count < 3; count += 1) {
    const link = await HostileLink.open(t, relay, address);
    await assertRefused(link, 'LIMIT_EXCEEDED', 4429);
    assert.equal(link.messages.length, 0);
  }
  await HostileLink.proven(t, relay, token, {}, nextAddress());
  await assertServes(t, relay);
});

test('links over the limit of an address or of a session are refused, and given back when others end', async (t) => {
  const { relay } = await attackedWorld(t, '{ links_per_ip: 3, links_per_session: 2 }');
  const token = issue(relay, 'mine');
  const address = nextAddress();
  const links = [
    await HostileLink.proven(t, relay, token, {}, address),
    await HostileLink.open(t, relay, address),
    await HostileLink.open(t, relay, address),
  ];
  await assertRefused(await HostileLink.open(t, relay, address), 'LIMIT_EXCEEDED', 4429);
  links[1]?.webSocket.terminate();
  await until('a free place', async () => {
    const link = await HostileLink.open(t, relay, address);
    return link.message('challenge').catch(() => undefined);
  });
  const elsewhere = await HostileLink.open(t, relay, nextAddress());
  elsewhere.send(await elsewhere.proof(token, { clientId: 'two' }));
  const { sessionId } = await elsewhere.message('welcome');
  await HostileLink.proven(t, relay, token, { clientId: 'two', sessionId: String(sessionId) }, nextAddress());
  const third = await HostileLink.open(t, relay, nextAddress());
  third.send(await third.proof(token, { clientId: 'two', sessionId: String(sessionId) }));
  await assertRefused(third, 'LIMIT_EXCEEDED', 4429);
  await assertServes(t, relay);
});

/** Milliseconds from the proof to its refusal. */
async function refusalMs(t: TestContext, relay: RunningRelay, token: Secret): Promise<number> {
  const link = await HostileLink.open(t, relay);
  const proof = await link.proof(token, { signature: randomBytes(64) });
  const beganAtMs = performance.now();
  link.send(proof);
  await link.message('refused');
  const ms = performance.now() - beganAtMs;
  link.webSocket.terminate();
  return ms;
}

test('the time of a refusal does not tell whether the token exists', async (t) => {
  const { relay } = await attackedWorld(t, '{ failed_proofs_per_minute: 1000 }');
  const token = issue(relay, 'mine');
  const [known, unknown]: [number[], number[]] = [[], []];
  // In turns, so that whatever else the machine does meets both.
  for (let count = 0; count < 40; count += 1) {
    known.push(await refusalMs(t, relay, token));
    unknown.push(await refusalMs(t, relay, generateToken().text));
  }
  const median = (times: number[]) => times.sort((one, other) => one - other)[20] ?? 0;
  const ratio = median(unknown) / median(known);
  assert.ok(ratio > 1 / 3 && ratio < 3, `known ${median(known)} ms, unknown ${median(unknown)} ms`);
});

test('upgrades that are no links are answered and closed, whoever asks', async (t) => {
  const { relay } = await attackedWorld(t);
  const upgrade = (path: string, host: string, more = '') =>
    `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${more}\r\n`;
  const key = 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n';
  const attempts: [status: RegExp, request: string][] = [
    [/^HTTP\/1\.1 404 /, upgrade('/', 'relay.localhost', key)],
    [/^HTTP\/1\.1 404 /, upgrade('/.sallyport/link', APP, key)],
    [/^HTTP\/1\.1 404 /, upgrade('/.sallyport/link/', 'relay.localhost', key)],
    [/^HTTP\/1\.1 400 /, upgrade('/.sallyport/link', 'relay.localhost')],
    [/^HTTP\/1\.1 426 /, 'GET /.sallyport/link HTTP/1.1\r\nHost: relay.localhost\r\nConnection: close\r\n\r\n'],
  ];
  for (const [status, request] of attempts) {
    const connection = await talkToRelay(t, relay, { servername: DOMAIN });
    connection.send(request);
    assert.match(await within('answer', connection.until('\r\n')), status, request);
    await within('end', connection.ended());
  }
  await until('freeing', () => (relay.relay.status().connections.now === 2 ? true : undefined));
});
