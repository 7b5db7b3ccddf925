/**
 * Relays that are no friends: the client refuses what it must not do, lives on, comes back with patience, signs nothing but
 * proofs for the relay that it dialled, and connects to nothing but its own origins.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { parseToken, proofPayload, verifyProof } from '../shared/token.js';
import { forbidWarnings, recordingLog } from './support/attack.js';
import { appTunnel } from './support/carry.js';
import { FakeRelay, type FakeRelayLink } from './support/fake-relay.js';
import { DATA, frame, PING, RST, SYN, WINDOW_UPDATE } from './support/mux-frames.js';
import { endConnections, listen } from './support/origins.js';
import { RecordingOrigin } from './support/recording-origin.js';
import { testCertificate } from './support/test-certificate.js';
import { until, within } from './support/within.js';
import { type ClientWorldOptions, DOMAIN, RelayHome, type RunningClient, startClient } from './support/world.js';

const REQUEST = 'GET /good HTTP/1.1\r\nHost: app\r\n\r\n';

interface Besieged {
  readonly relay: FakeRelay;
  readonly client: RunningClient;
  readonly origin: RecordingOrigin;
  readonly home: RelayHome;
  readonly logs: string[];
}

/** A client whose relay is hostile on its first link, and honest on every later one. */
async function besieged(
  t: TestContext,
  attack: (link: FakeRelayLink) => void | Promise<void>,
  options: ClientWorldOptions & { readonly originUrl?: string } = {},
): Promise<Besieged> {
  const home = new RelayHome(t);
  const origin = await RecordingOrigin.start(t);
  const logs: string[] = [];
  const relay = await FakeRelay.start(t, home, (link, number) => {
    const act = number === 0 ? attack(link) : link.begin();
    Promise.resolve(act).catch(() => {});
  });
  const tunnel = appTunnel(options.originUrl ?? origin.url);
  const client = await startClient(t, relay.port, home, [tunnel], {
    noWait: true,
    log: recordingLog(logs),
    ...options,
  });
  return { relay, client, origin, home, logs };
}

/** The client has come back, on a link that is honest, and serves. */
async function assertServesAgain({ relay, origin }: Besieged): Promise<void> {
  const link = await until('a new session', () => relay.links.slice(1).findLast((each) => each.hasBegun));
  const before = origin.connections.length;
  const id = link.openTo({}, REQUEST);
  const answer = await within('answer', link.answer(id, 10));
  assert.match(answer.toString('latin1'), /^\0HTTP\/1\.1 200 OK/);
  assert.equal(origin.connections.length, before + 1);
}

const HANDSHAKES: readonly (readonly [what: string, code: string, attack: (link: FakeRelayLink) => unknown])[] = [
  ['a nonce of 31 bytes', 'PROTOCOL_VIOLATION', (link) => link.challenge(randomBytes(31))],
  ['an empty nonce', 'PROTOCOL_VIOLATION', (link) => link.challenge(Buffer.alloc(0))],
  ['a nonce of 700 bytes', 'PROTOCOL_VIOLATION', (link) => link.challenge(randomBytes(700))],
  ['a nonce that is no text', 'PROTOCOL_VIOLATION', (link) => link.challenge(undefined, { nonce: 7 })],
  ['a welcome without a challenge', 'PROTOCOL_VIOLATION', (link) => link.welcome()],
  [
    'two challenges',
    'PROTOCOL_VIOLATION',
    (link) => {
      link.challenge();
      link.challenge();
    },
  ],
  ['bytes', 'PROTOCOL_VIOLATION', (link) => link.send(frame(PING, SYN, 0))],
  ['no JSON', 'PROTOCOL_VIOLATION', (link) => link.send('challenge')],
  ['a message of 17 KiB', 'PROTOCOL_VIOLATION', (link) => link.challenge(undefined, { x: 'x'.repeat(17 * 1024) })],
  ['a message of 1 MiB', 'PROTOCOL_VIOLATION', (link) => link.send('x'.repeat(1 << 20))],
  ['a drain', 'PROTOCOL_VIOLATION', (link) => link.send({ type: 'drain', reconnectInMs: 1e15 })],
  [
    'a code that nobody knows',
    'INTERNAL',
    (link) => link.send({ type: 'refused', code: 'EVIL', message: '\u001b[2J' }),
  ],
  ['silence', 'HANDSHAKE_TIMEOUT', () => {}],
  [
    'silence after the proof',
    'HANDSHAKE_TIMEOUT',
    async (link) => {
      link.challenge();
      await link.message('proof');
    },
  ],
];

test('a relay that breaks the handshake is left with its code, and tried again', async (t) => {
  forbidWarnings(t);
  for (const [what, code, attack] of HANDSHAKES) {
    await t.test(`${what}: ${code}`, async (t) => {
      const world = await besieged(t, (link) => void attack(link), { yaml: 'connect_timeout: 500ms' });
      await within('reconnecting', world.client.event(`reconnecting ${code}`));
      await assertServesAgain(world);
      assert.equal(
        world.relay.links[0]?.messages.filter(({ type }) => type === 'proof').length ?? 0,
        what === 'two challenges' ? 1 : 0,
      );
    });
  }
});

test('a proof is for the relay that was dialled, whatever name the challenge says, and not for its own nonce twice', async (t) => {
  const nonce = randomBytes(32);
  let proof: Promise<Readonly<Record<string, unknown>>> | undefined;
  const world = await besieged(t, (link) => {
    link.challenge(nonce, { relay: 'victim.example.com' });
    proof = link.message('proof');
  });
  await until('link', () => proof);
  const said = await within('proof', proof ?? Promise.reject(new Error('none')));
  const { id: tokenId, publicKey } = parseToken(world.home.token);
  const signature = Buffer.from(String(said.signature), 'base64url');
  const exporter = Buffer.from(String(said.exporter), 'base64url');
  const payload = (relay: string) =>
    proofPayload({ relay, nonce, tokenId, clientId: 'test-client', sessionId: '', exporter });
  assert.equal(verifyProof(publicKey, payload(DOMAIN), signature), true);
  assert.equal(verifyProof(publicKey, payload('victim.example.com'), signature), false);
});

test('a relay that is none at all, or a stranger’s, gets no proof, and not many attempts', async (t) => {
  forbidWarnings(t);
  const home = new RelayHome(t);
  const answers = [
    'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 101 OK\r\n\r\n',
    'hello\r\n\r\n',
    `HTTP/1.1 101 OK\r\nA: ${'b'.repeat(1 << 20)}`,
  ];
  const relay = await FakeRelay.start(
    t,
    home,
    () => assert.fail('no link may come about'),
    (socket, number) => {
      socket.write(answers[number % answers.length] ?? '');
      return true;
    },
  );
  const logs: string[] = [];
  const client = await startClient(t, relay.port, home, [appTunnel('http://127.0.0.1:9')], {
    noWait: true,
    yaml: 'connect_timeout: 500ms',
    log: recordingLog(logs),
  });
  await within('attempts', client.event('reconnecting LINK_LOST', 3));
  await delay(2_000);
  assert.ok(relay.connections < 15, `${relay.connections} attempts`);
  const stranger = createTlsServer(await testCertificate());
  let spoken = 0;
  stranger.on('secureConnection', (socket) =>
    socket.on('data', (piece) => (spoken += piece.length)).on('error', () => {}),
  );
  const port = await listen(t, stranger);
  endConnections(t, stranger);
  const careful = await startClient(t, port, home, [appTunnel('http://127.0.0.1:9')], { noWait: true });
  await within('attempts', careful.event('reconnecting LINK_LOST', 2));
  assert.equal(spoken, 0);
});

const ROUTE_NOT_FOUND = 4;
const INTERNAL = 7;

/** First bytes of a stream, and the verdict. */
const OPENINGS: readonly (readonly [what: string, verdict: number, open: (link: FakeRelayLink) => number])[] = [
  ['an unknown tunnel', ROUTE_NOT_FOUND, (link) => link.openTo({ tunnel: 'other' }, REQUEST)],
  ['the tunnel __proto__', ROUTE_NOT_FOUND, (link) => link.openTo({ tunnel: '__proto__' }, REQUEST)],
  ['the tunnel constructor', ROUTE_NOT_FOUND, (link) => link.openTo({ tunnel: 'constructor' }, REQUEST)],
  ['the tunnel app in capitals', ROUTE_NOT_FOUND, (link) => link.openTo({ tunnel: 'APP' }, REQUEST)],
  ['a request without Opening', INTERNAL, (link) => link.open(Buffer.from(REQUEST))],
  ['random bytes', INTERNAL, (link) => link.open(Buffer.concat([Buffer.of(1), randomBytes(1_000)]))],
  ['PROXY version 1', INTERNAL, (link) => link.open(Buffer.from('PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n'))],
  ['a local PROXY header', INTERNAL, (link) => link.open(Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex'))],
  [
    'an Opening of 64 KiB',
    INTERNAL,
    (link) => link.open(Buffer.from(`0d0a0d0a000d0a515549540a2111ffff${'00'.repeat(5_000)}`, 'hex')),
  ],
  [
    'cut TLVs',
    INTERNAL,
    (link) => link.open(Buffer.from('0d0a0d0a000d0a515549540a2111000d7f0000017f00000100010002e0', 'hex')),
  ],
  ['its end before the Opening', INTERNAL, (link) => link.open(Buffer.from('0d0a', 'hex'), SYN | 4)],
];

test('a stream that is for no tunnel of ours, or says nothing that we understand, gets its verdict and no origin', async (t) => {
  forbidWarnings(t);
  const trap = createServer();
  let trapped = 0;
  trap.on('connection', () => (trapped += 1));
  const trapPort = await listen(t, trap);
  let link: FakeRelayLink | undefined;
  const world = await besieged(t, async (first) => {
    await first.begin();
    link = first;
  });
  const relay = await until('a session', () => link);
  for (const [what, verdict, open] of OPENINGS) {
    const answer = await within(what, relay.answer(open(relay)));
    assert.equal(answer.toString('hex'), Buffer.of(verdict).toString('hex'), what);
  }
  assert.equal(world.origin.connections.length, 0);
  const addresses = {
    visitorAddress: '127.0.0.1',
    visitorPort: trapPort,
    publicAddress: '127.0.0.1',
    publicPort: trapPort,
  };
  const id = relay.openTo({ ...addresses, authority: `127.0.0.1:${trapPort}` }, REQUEST);
  assert.match((await within('answer', relay.answer(id, 10))).toString('latin1'), /^\0HTTP/);
  assert.deepEqual([trapped, world.origin.connections.length], [0, 1]);
  assert.equal(world.origin.text, REQUEST);
});

test('an authority that is no name for a certificate harms neither the client nor the stream', async (t) => {
  forbidWarnings(t);
  const { ca: _, ...pair } = await testCertificate();
  const origin = createTlsServer(pair, (socket) => socket.on('error', () => {}).end('hello'));
  origin.on('tlsClientError', () => {});
  const port = await listen(t, origin);
  endConnections(t, origin);
  let link: FakeRelayLink | undefined;
  const attack = async (first: FakeRelayLink) => {
    await first.begin();
    link = first;
  };
  await besieged(t, attack, { originUrl: `https+insecure://127.0.0.1:${port}` });
  const relay = await until('a session', () => link);
  const authorities = [
    '',
    'a',
    '127.0.0.1',
    '[::1]:443',
    'a:1:2',
    '*',
    '!!',
    '.',
    'a..b',
    'x'.repeat(320),
    `${'a.'.repeat(150)}b`,
  ];
  for (const authority of authorities) {
    const answer = await within(`authority ${authority}`, relay.answer(relay.openTo({ authority })));
    assert.ok(answer[0] === 0 || answer[0] === 3, `${authority}: verdict ${answer[0]}`);
  }
});

const VIOLATION = { code: 1002, reason: 'PROTOCOL_VIOLATION' };
const LIMIT = { code: 4429, reason: 'LIMIT_EXCEEDED' };

/** What a relay with a session does, and how the client ends the link. */
const ATTACKS: readonly (readonly [what: string, close: typeof VIOLATION, attack: (link: FakeRelayLink) => void])[] = [
  ['an unknown frame', VIOLATION, (link) => link.send(frame(9, 0, 0))],
  ['a SYN of our parity', VIOLATION, (link) => link.send(frame(WINDOW_UPDATE, SYN, 1))],
  [
    'one SYN twice',
    VIOLATION,
    (link) => link.send(Buffer.concat([frame(WINDOW_UPDATE, SYN, 2), frame(WINDOW_UPDATE, SYN, 2)])),
  ],
  ['a frame of 4 GiB', VIOLATION, (link) => link.send(frame(DATA, SYN, 2, { length: 0xffff_ffff }))],
  [
    'more than a window, while the origin reads nothing',
    VIOLATION,
    (link) => {
      const id = link.openTo({});
      for (let count = 0; count < 400; count += 1) link.send(frame(DATA, 0, id, { payload: Buffer.alloc(60_000) }));
    },
  ],
  [
    '100,000 pings',
    LIMIT,
    (link) => {
      for (let count = 0; count < 100; count += 1) link.send(Buffer.alloc(12_000, frame(PING, SYN, 0, { length: 1 })));
    },
  ],
  ['an unknown message', VIOLATION, (link) => link.send({ type: 'execute', command: 'reboot' })],
  ['a second welcome', VIOLATION, (link) => link.welcome()],
  [
    '501 messages',
    LIMIT,
    (link) => {
      for (let count = 0; count < 501; count += 1) link.send({ type: 'claimed', name: 'other', url: 'https://x' });
    },
  ],
];

test('a relay that breaks the rules of a session is left with its code, and tried again', async (t) => {
  forbidWarnings(t);
  for (const [what, close, attack] of ATTACKS) {
    await t.test(`${what}: ${close.reason}`, async (t) => {
      const world = await besieged(t, async (link) => {
        await link.begin();
        attack(link);
      });
      // An origin that reads nothing, for those attacks that fill a stream.
      const timer = setInterval(() => world.origin.connections[0]?.socket.pause(), 1);
      t.after(() => clearInterval(timer));
      const link = await until('link', () => world.relay.links[0]);
      assert.deepEqual(await within('close', link.closed), close);
      clearInterval(timer);
      await assertServesAgain(world);
      assert.equal(world.client.client.status().links.length, 1);
    });
  }
});

test('a flood of streams is refused beyond the limit, and freed when it is over', async (t) => {
  forbidWarnings(t);
  const world = await besieged(t, async (link) => {
    await link.begin();
    for (let batch = 0; batch < 10; batch += 1) {
      const syns = Array.from({ length: 1_000 }, (_, count) =>
        frame(WINDOW_UPDATE, SYN, 2 * (batch * 1_000 + count + 1)),
      );
      link.send(Buffer.concat(syns));
      await delay(50);
    }
  });
  const link = await until('link', () => world.relay.links[0]);
  const refused = () => link.frames.filter(({ flags }) => (flags & RST) !== 0).length;
  await until('refusals', () => (refused() >= 10_000 - 4_096 ? true : undefined));
  assert.equal(world.client.client.status().links[0]?.streams, 4_096);
  assert.equal(world.origin.connections.length, 0);
  link.webSocket.terminate();
  await assertServesAgain(world);
});

test('figures that a relay may name are kept within reason', async (t) => {
  const world = await besieged(t, (link) => link.begin({ maxLinks: 1e9, heartbeatMs: 0, maxStreams: 0 }), {
    yaml: 'links: 2',
  });
  await until('links', () => (world.relay.links.length >= 2 ? true : undefined));
  await delay(500);
  assert.equal(world.relay.links.length, 2);
  const first = world.relay.links[0];
  assert.ok((first?.frames.filter(({ type }) => type === PING).length ?? 0) < 5, 'pings');
  first?.send({ type: 'drain', reconnectInMs: 1e15 });
  await within('drain', world.client.event('reconnecting RELAY_DRAINING'));
  assert.ok((world.client.client.status().retryInMs ?? 0) < 120_000);
});

test('texts of the relay reach no log as they are', async (t) => {
  const evil = '\u001b]0;evil\u0007\r\n{"level":"error"}\u202e';
  const world = await besieged(t, async (link) => {
    link.challenge();
    await link.message('proof');
    link.welcome({ sessionId: evil, agent: evil });
    await link.message('claim');
    link.send({ type: 'claimed', name: 'app', url: evil });
    link.send({ type: 'denied', name: 'app', code: 'HOSTNAME_TAKEN', message: evil });
    link.send({ type: 'drain', reconnectInMs: 10 });
  });
  await within('drain', world.client.event('reconnecting'));
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these must not be there.
  for (const line of world.logs) assert.doesNotMatch(line.trimEnd(), /[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/);
  assert.ok(world.logs.length > 3);
});
