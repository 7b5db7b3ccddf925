/** DNS-01 by dynamic update: the bytes against dnspython's, and whole orders against pebble. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { AccountStore } from '../shared/certs/account-store.js';
import { AcmeIssuer } from '../shared/certs/acme-issuer.js';
import { CLASS, readMessage, readName, TYPE, writeName, writeText, writeUpdate } from '../shared/certs/dns-message.js';
import { problemOfSignature, signMessage } from '../shared/certs/dns-signature.js';
import { DnsUpdateSolver } from '../shared/certs/dns-update-solver.js';
import { factsOf } from '../shared/certs/issued-chain.js';
import type { Challenge } from '../shared/certs/issuer.js';
import { makePrivateKey } from '../shared/certs/private-key.js';
import { silentLog } from '../shared/log.js';
import { Secret } from '../shared/secret.js';
import { ZoneServer } from './support/acme-zone-server.js';
import { startPebble } from './support/pebble.js';
import { temporaryFolder } from './support/temporary-folder.js';

const key = {
  name: 'acme-key',
  secret: new Secret(Buffer.from(Array.from({ length: 32 }, (_, i) => i)).toString('base64')),
};
const atSeconds = 1_795_000_000;

/** Made by dnspython 2.9.2 with this key at this time: an update of one TXT record, its MAC, and the signed answer. */
const theirs = {
  request: Buffer.from(
    '123428000001000000010001076578616d706c6503636f6d00000600010f5f61636d652d6368616c6c656e676503617070c00c001000010000' +
      '003c000a097468652d76616c75650861636d652d6b65790000fa00ff00000000003d0b686d61632d7368613235360000006afd86c0012c' +
      '0020d8ef992bcf16c7062f3ad2a0f7add940d68f50e78d009d1689beb405614119d6123400000000',
    'hex',
  ),
  mac: Buffer.from('d8ef992bcf16c7062f3ad2a0f7add940d68f50e78d009d1689beb405614119d6', 'hex'),
  answer: Buffer.from(
    '1234a8000001000000000001076578616d706c6503636f6d00000600010861636d652d6b65790000fa00ff00000000003d0b686d61632d7368' +
      '613235360000006afd86c0012c0020d2b83f0d914b90e50d7b129e202a6d40b4223f644587a4cff405209a3298001b123400000000',
    'hex',
  ),
};
/** What we send, which dnspython has read and found well signed. */
const ours =
  '123428000001000000010001076578616d706c6503636f6d00000600010f5f61636d652d6368616c6c656e676503617070076578616d706c6503' +
  '636f6d00001000010000003c000a097468652d76616c75650861636d652d6b65790000fa00ff00000000003d0b686d61632d73686132353600' +
  '00006afd86c0012c0020e0ecc68d8f857409d173bcaffb9db3875df6927fbc051c90902a105fa905f7c4123400000000';

function update(): Buffer {
  const name = '_acme-challenge.app.example.com';
  return writeUpdate(0x1234, 'example.com', [
    { name, type: TYPE.TXT, class: CLASS.IN, ttl: 60, data: writeText('the-value') },
  ]);
}

test('what another implementation signs is good, and ours are the bytes that it takes', () => {
  assert.equal(problemOfSignature(theirs.request, key, atSeconds), undefined);
  assert.equal(problemOfSignature(theirs.answer, key, atSeconds, theirs.mac), undefined);
  assert.equal(signMessage(update(), key, atSeconds).bytes.toString('hex'), ours);
  const { questions, authority } = readMessage(theirs.request);
  assert.deepEqual(questions, [{ name: 'example.com', type: TYPE.SOA, class: CLASS.IN }]);
  assert.equal(authority[0]?.name, '_acme-challenge.app.example.com');
});

test('a signature of another key, time, request or message is not good', () => {
  const other = { ...key, secret: new Secret('AAAA') };
  assert.match(problemOfSignature(theirs.request, other, atSeconds) ?? '', /signature is wrong/);
  assert.match(problemOfSignature(theirs.request, { ...key, name: 'x' }, atSeconds) ?? '', /another key/);
  assert.match(problemOfSignature(theirs.request, key, atSeconds + 301) ?? '', /clock is 301 s off/);
  assert.match(problemOfSignature(theirs.answer, key, atSeconds) ?? '', /signature is wrong/);
  assert.match(problemOfSignature(update(), key, atSeconds) ?? '', /not signed/);
  const changed = Buffer.from(theirs.request);
  changed.writeUInt8(changed.readUInt8(70) ^ 1, 70);
  assert.match(problemOfSignature(changed, key, atSeconds) ?? '', /signature is wrong/);
});

test('no bytes make the reader do more than refuse, and every name reads as it was written', () => {
  const label = fc.stringMatching(/^[a-z0-9_-]{1,20}$/);
  fc.assert(
    fc.property(fc.array(label, { maxLength: 8 }), (labels) => {
      const name = labels.join('.');
      assert.deepEqual(readName(writeName(name), 0), { name, end: writeName(name).length });
    }),
  );
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 0, maxLength: 300 }),
    // One wrong byte in a good message reaches further than noise.
    fc.tuple(fc.nat(theirs.request.length - 1), fc.nat(255)).map(([at, value]) => {
      const copy = Buffer.from(theirs.request);
      copy.writeUInt8(value, at);
      return copy;
    }),
  );
  fc.assert(
    fc.property(bytes, (some) => {
      try {
        problemOfSignature(Buffer.from(some), key, atSeconds);
      } catch (error) {
        assert.ok(error instanceof RangeError, String(error));
      }
    }),
    { numRuns: 2_000 },
  );
  const loop = Buffer.from([1, 97, 0xc0, 0]);
  assert.throws(() => readName(loop, 0), RangeError);
  for (const wrong of ['a'.repeat(64), 'a..b', `${'abcdefg.'.repeat(40)}`])
    assert.throws(() => writeName(wrong), RangeError);
});

function solverAt(server: ZoneServer, secret = key.secret): DnsUpdateSolver {
  return new DnsUpdateSolver({
    server: { host: '127.0.0.1', port: server.port },
    key: { ...key, secret },
    propagation: { servers: [`127.0.0.1:${server.port}`], timeoutMs: 5_000, lookMs: 20 },
  });
}

function challengeFor(hostname: string): Challenge {
  const dnsName = `_acme-challenge.${hostname}`;
  return { hostname, token: 't', keyAuthorization: 't.k', dnsName, dnsValue: 'the-value' };
}

test('a name and its wildcard are proven in one order, and their records are gone afterwards', async (t) => {
  const server = await ZoneServer.start(t, 'example.com', key);
  const pebble = await startPebble(t, { dnsServer: `127.0.0.1:${server.port}` });
  if (!pebble) return;
  const accounts = new AccountStore(join(temporaryFolder(t), 'accounts'));
  const { directoryUrl: directory, caFile } = pebble;
  const issuer = new AcmeIssuer({
    directory,
    caFile,
    accounts,
    solvers: [solverAt(server)],
    log: silentLog,
    pollMs: 20,
  });
  const hostnames = ['*.example.com', 'example.com'];
  const keyPem = await makePrivateKey();
  const { chainPem } = await issuer.issue({ hostnames, keyPem, signal: AbortSignal.timeout(30_000) });
  assert.deepEqual([...factsOf(chainPem).hostnames].sort(), hostnames);
  const name = '_acme-challenge.example.com';
  assert.deepEqual(server.changes.toSorted(), [`add ${name}`, `add ${name}`, `remove ${name}`, `remove ${name}`]);
});

test('a delegated name is changed where its CNAME points to', async (t) => {
  const server = await ZoneServer.start(t, 'challenges.test', key);
  server.addCname('_acme-challenge.home.example.com', 'home.challenges.test');
  const solver = solverAt(server);
  const challenge = challengeFor('home.example.com');
  await solver.present(challenge);
  await solver.cleanup(challenge);
  await solver.cleanup(challenge);
  assert.deepEqual(server.changes, ['add home.challenges.test', 'remove home.challenges.test']);
});

test('a key that the server does not take, another zone and a dead server say so', async (t) => {
  const server = await ZoneServer.start(t, 'example.com', key);
  const strange = solverAt(server, new Secret('AAAA')).present(challengeFor('example.com'));
  const message =
    /Cannot update example\.com at DNS server 127\.0\.0\.1:\d+: NOTAUTH, it is not signed\. Check the key/;
  await assert.rejects(strange, { reason: 'solver', message });
  await assert.rejects(solverAt(server).present(challengeFor('other.test')), /REFUSED/);
  assert.deepEqual(server.changes, []);
  const silent = createServer().listen(0, '127.0.0.1');
  silent.on('connection', (socket) => void t.after(() => socket.destroy()));
  t.after(() => silent.close());
  await once(silent, 'listening');
  const { port } = silent.address() as { port: number };
  const propagation = { servers: [`127.0.0.1:${server.port}`] };
  const dead = new DnsUpdateSolver({
    server: { host: '127.0.0.1', port },
    key,
    zone: 'example.com',
    timeoutMs: 100,
    propagation,
  });
  await assert.rejects(dead.present(challengeFor('localhost')), /no answer in 100 ms/);
});
