/** The questions of doctor and why on the wire: read strictly, and an old peer's habits do no harm. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../shared/errors.js';
import { RELAY_HOPS, readClientMessage, readRelayMessage } from '../shared/messages.js';
import { type Opening, originProxyHeader, readOpening, writeOpening } from '../shared/opening.js';

const relaySays = (message: object) => readRelayMessage(JSON.stringify(message));
const clientSays = (message: object) => readClientMessage(JSON.stringify(message));

test('probe and watch are read; a probe names a host or a port like a claim', () => {
  const probe = { type: 'probe', name: 'home', host: 'home.example.com', tls: 'end-to-end' };
  assert.deepEqual(clientSays(probe), { ...probe, tcpPort: undefined });
  assert.deepEqual(clientSays({ type: 'watch', id: 'x', host: 'h' }), { type: 'watch', id: 'x', host: 'h' });
  for (const wrong of [
    { ...probe, tcpPort: 1 },
    { type: 'probe', name: 'x' },
    { type: 'watch', id: 'x' },
  ]) {
    assert.throws(() => clientSays(wrong), { code: 'PROTOCOL_VIOLATION' });
  }
});

test('probed and watched are read; a code that is new to this version is INTERNAL, none is none', () => {
  assert.deepEqual(relaySays({ type: 'probed', name: 'a', message: '' }), {
    type: 'probed',
    name: 'a',
    code: undefined,
    message: '',
  });
  const hops = RELAY_HOPS.map((hop) => ({ hop, ms: 1.5, fact: 'x' }));
  const watched = { type: 'watched', id: 'a', code: 'NEW_ONE', message: 'm', hops };
  assert.deepEqual(relaySays(watched), { ...watched, code: 'INTERNAL' });
});

test('hops that are no hops are a violation', () => {
  const good = { hop: 'dial', ms: 1, fact: '' };
  const bad = [{ ...good, hop: 'moon' }, { ...good, ms: -1 }, { ...good, ms: '1' }, { ...good, fact: 5 }, null, 7, []];
  for (const hop of bad) {
    assert.throws(() => relaySays({ type: 'watched', id: 'a', message: '', hops: [hop] }), {
      code: 'PROTOCOL_VIOLATION',
    });
  }
  const many = Array.from({ length: 7 }, () => good);
  assert.throws(() => relaySays({ type: 'watched', id: 'a', message: '', hops: many }), { code: 'PROTOCOL_VIOLATION' });
});

test('whatever a relay puts into hops, it is read or a violation', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (hops) => {
      try {
        relaySays({ type: 'watched', id: 'a', message: '', hops });
      } catch (error) {
        assert.ok(error instanceof TunnelError && error.code === 'PROTOCOL_VIOLATION');
      }
    }),
  );
});

test('the mark of a followed visitor stands in the Opening only then, and origins never see it', () => {
  const visit: Opening = {
    tunnel: 'home',
    visitorAddress: '203.0.113.7',
    visitorPort: 5,
    publicAddress: '198.51.100.1',
    publicPort: 443,
    authority: 'home.example.com',
    alpn: 'http/1.1',
    tlsVersion: 'TLSv1.3',
    id: 'x',
  };
  const plain = writeOpening(visit);
  assert.deepEqual(writeOpening({ ...visit, trace: false }), plain);
  const followed = readOpening(writeOpening({ ...visit, trace: true }));
  const read = readOpening(plain);
  assert.ok(followed.kind === 'opening' && read.kind === 'opening');
  assert.deepEqual([followed.opening, read.opening], [{ ...visit, trace: true }, visit]);
  assert.deepEqual(originProxyHeader(followed.header, 'v2'), originProxyHeader(read.header, 'v2'));
});
