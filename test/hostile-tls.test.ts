/** Whoever knocks on the TLS port with anything but a hostname of ours: an alert, no certificate, and nothing left behind. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { assertAllFreed, assertServes, attackedWorld, forbidWarnings, GOOD, sendEach } from './support/attack.js';
import { APP } from './support/carry.js';
import { Conversation } from './support/conversation.js';
import { singleBytes } from './support/http-wire.js';
import { startRawOrigin } from './support/origins.js';
import { clientHello, connectPlain } from './support/raw-tls.js';
import { until, within } from './support/within.js';
import type { RunningRelay } from './support/world.js';

const UNRECOGNIZED_NAME = '15030300020270';
const DECODE_ERROR = '15030300020232';

/** Everything that the relay answers to these bytes, in hexadecimal, until it ends the connection. */
async function answerTo(t: TestContext, relay: RunningRelay, pieces: readonly Buffer[]): Promise<string> {
  const connection = await connectPlain(t, relay.port('https'));
  await sendEach(connection, pieces);
  await within('end of the connection', connection.ended());
  return Buffer.from(connection.unread, 'latin1').toString('hex');
}

/** The same hello in records of `size` bytes. */
function inRecords(hello: Buffer, size: number): Buffer {
  const records: Buffer[] = [];
  for (let at = 5; at < hello.length; at += size) {
    const piece = hello.subarray(at, at + size);
    records.push(Buffer.of(22, 3, 1, piece.length >> 8, piece.length & 0xff), piece);
  }
  return Buffer.concat(records);
}

test('a hostname that nobody serves, and none at all, get the alert and no byte of a certificate', async (t) => {
  forbidWarnings(t);
  const { relay } = await attackedWorld(t);
  const names = [
    'evil.localhost',
    'nobody.relay.localhost',
    'a.app.relay.localhost',
    'localhost',
    'com',
    'xn--a.com',
    '',
  ];
  for (const name of names) {
    const hello = await clientHello(t, name);
    assert.equal(await answerTo(t, relay, [hello]), UNRECOGNIZED_NAME, `SNI "${name}"`);
    assert.equal(await answerTo(t, relay, singleBytes(hello)), UNRECOGNIZED_NAME, `SNI "${name}" byte by byte`);
  }
  assert.equal(relay.relay.status().refusals.ROUTE_NOT_FOUND, 2 * names.length);
  await assertServes(t, relay);
});

const NOT_TLS: readonly (readonly [what: string, bytes: Buffer])[] = [
  ['HTTP', Buffer.from(GOOD)],
  ['random bytes', Buffer.concat([Buffer.of(0x80), randomBytes(4_096)])],
  ['NULs', Buffer.alloc(4_096)],
  ['a lone line end', Buffer.from('\n')],
  ['SSH', Buffer.from('SSH-2.0-OpenSSH_9.6\r\n')],
  ['SSL 2', Buffer.from('802e0100020015000000100100800200800600400400800700c0080080050080', 'hex')],
  ['PROXY protocol', Buffer.from('PROXY TCP4 6.6.6.6 7.7.7.7 1 443\r\n')],
  ['a TLS alert', Buffer.from(UNRECOGNIZED_NAME, 'hex')],
  ['application data', Buffer.from('17030300050000000000', 'hex')],
  ['a handshake record of another message', Buffer.from('1603010004020000000', 'hex')],
  ['a hello that announces 16 MiB', Buffer.from('160301400001ffffff0303', 'hex')],
  ['empty records', Buffer.from('16030100001603010000', 'hex')],
];

test('whatever is no ClientHello gets an alert, however it is cut', async (t) => {
  forbidWarnings(t);
  const { relay } = await attackedWorld(t);
  for (const [what, bytes] of NOT_TLS) {
    assert.equal(await answerTo(t, relay, [bytes]), DECODE_ERROR, what);
    assert.equal(await answerTo(t, relay, singleBytes(bytes.subarray(0, 64))), DECODE_ERROR, `${what} byte by byte`);
  }
  assert.equal(relay.relay.status().refusals.REQUEST_INVALID, 2 * NOT_TLS.length);
  await assertServes(t, relay);
});

test('a ClientHello in records of one byte is refused; in a few records it is served', async (t) => {
  const { relay } = await attackedWorld(t);
  const hello = await clientHello(t, APP);
  assert.equal(await answerTo(t, relay, [inRecords(hello, 1)]), DECODE_ERROR);
  const proxy = await startRawOrigin(t, {
    onConnection: async (connection) => {
      const head = await connection.take(5);
      const first = Buffer.concat([head, await connection.take(head.readUInt16BE(3))]);
      const onward = connect(relay.port('https'), '127.0.0.1');
      t.after(() => void onward.destroy());
      onward.write(inRecords(first, 20));
      connection.socket.pipe(onward);
      onward.pipe(connection.socket);
    },
  });
  const visitor = await visitThrough(t, relay, { port: proxy.port, servername: APP });
  visitor.send(GOOD);
  assert.equal((await visitor.response()).status, 200);
});

async function visitThrough(t: TestContext, relay: RunningRelay, options: ConnectionOptions): Promise<Conversation> {
  const socket = connectTls({ host: '127.0.0.1', port: relay.port('https'), ca: relay.home.ca, ...options });
  t.after(() => void socket.destroy());
  await once(socket, 'secureConnect');
  return new Conversation(socket);
}

test('the letter case and the trailing dot of a hostname make no difference', async (t) => {
  const { relay } = await attackedWorld(t);
  for (const servername of ['APP.Relay.LOCALHOST', `${APP}.`]) {
    const visitor = await visitThrough(t, relay, { servername, checkServerIdentity: () => undefined });
    for (const name of [APP, APP.toUpperCase(), `${APP}.`, `${APP}:443`]) {
      visitor.send(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
      assert.equal((await visitor.response()).status, 200, `SNI ${servername}, Host ${name}`);
    }
  }
});

test('protocols and versions that are not spoken here end in an alert, and are counted', async (t) => {
  const { relay } = await attackedWorld(t);
  const attempts: ConnectionOptions[] = [
    { ALPNProtocols: ['h2'] },
    { ALPNProtocols: ['acme-tls/1'] },
    { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' },
    { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA' },
  ];
  for (const options of attempts) {
    await assert.rejects(visitThrough(t, relay, { servername: APP, ...options }), /alert/i, JSON.stringify(options));
  }
  const refused = () => relay.relay.status().refusals;
  await until('refusals', () => (refused().REQUEST_INVALID === 3 ? true : undefined));
  assert.equal(refused().ROUTE_NOT_FOUND, 1, 'a challenge that does not run');
  await assertServes(t, relay);
});

/** Kinds of handles that are open in this process, and how many of each. */
function openHandles(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) {
    if (/TCP|TLS|Pipe/.test(kind)) counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

test('200 connections of garbage, of all kinds and at once, leave nothing behind', async (t) => {
  forbidWarnings(t);
  const world = await attackedWorld(t);
  const hello = await clientHello(t, APP);
  await assertServes(t, world.relay);
  await assertAllFreed(world);
  await until('links', () => (world.client.client.status().links.length === 2 ? true : undefined));
  const before = openHandles();
  const attackers = Array.from({ length: 200 }, async (_, number) => {
    const { socket } = await connectPlain(t, world.relay.port('https'));
    const kind = number % 8;
    if (kind === 0) socket.write(randomBytes(1_000));
    if (kind === 1) socket.write(Buffer.concat([hello, randomBytes(1_000)]));
    if (kind === 2) socket.write(hello.subarray(0, 50 + number));
    if (kind === 3) socket.write(Buffer.concat([hello.subarray(0, 100), randomBytes(500)]));
    if (kind === 4) socket.write(hello);
    if (kind === 5) socket.write(GOOD);
    if (kind >= 6) {
      const secure = connectTls({ socket, servername: APP, ca: world.relay.home.ca });
      await once(secure, 'secureConnect');
      secure.on('error', () => {});
    }
    if (kind === 7) socket.write(randomBytes(1_000)); // Garbage beneath an established TLS connection.
    if (number % 3 === 0) socket.resetAndDestroy();
    else if (number % 3 === 1) socket.end();
    else setTimeout(() => socket.destroy(), 50);
  });
  await Promise.all(attackers);
  await assertServes(t, world.relay);
  await assertAllFreed(world);
  await until('handles', () => (JSON.stringify(openHandles()) === JSON.stringify(before) ? true : undefined)).catch(
    () => assert.deepEqual(openHandles(), before),
  );
});

test('a visitor who renegotiates, or tears the connection in mid-record, harms nobody', async (t) => {
  forbidWarnings(t);
  const { relay } = await attackedWorld(t);
  const old = await visitThrough(t, relay, { servername: APP, maxVersion: 'TLSv1.2' });
  assert.ok('renegotiate' in old.socket && typeof old.socket.renegotiate === 'function');
  old.socket.renegotiate({}, () => {});
  const plain = await connectPlain(t, relay.port('https'));
  const broken = await visitThrough(t, relay, { servername: APP, socket: plain.socket });
  broken.send(GOOD.slice(0, 10));
  plain.socket.resetAndDestroy();
  await Promise.all([within('end', old.ended()), within('end', broken.closed)]);
  await assertServes(t, relay);
});
