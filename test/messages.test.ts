import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../shared/errors.js';
import {
  type ClientMessage,
  MAX_MESSAGE_BYTES,
  type RelayMessage,
  readClientMessage,
  readRelayMessage,
} from '../shared/messages.js';

const text = fc.string({ maxLength: 100, unit: 'grapheme' });
const count = fc.nat();
const code = fc.constantFrom('NOT_GRANTED', 'HOSTNAME_TAKEN', 'TOKEN_REJECTED', 'INTERNAL');
const maybeCount = fc.option(count, { nil: undefined });
const maybeText = fc.option(text, { nil: undefined });

const tls = fc.constantFrom('relay', 'end-to-end', 'passthrough');

const relayMessages = {
  challenge: fc.record({ type: fc.constant('challenge'), version: count, nonce: text, relay: text }),
  welcome: fc.record({
    type: fc.constant('welcome'),
    sessionId: text,
    heartbeatMs: count,
    maxLinks: count,
    maxTunnels: count,
    maxStreams: count,
    agent: text,
  }),
  refused: fc.record({ type: fc.constant('refused'), code, message: text }),
  claimed: fc.record({ type: fc.constant('claimed'), name: text, url: text, tls }),
  denied: fc.record({
    type: fc.constant('denied'),
    name: text,
    code,
    message: text,
    retryInMs: fc.option(fc.nat(), { nil: undefined }),
  }),
  drain: fc.record({ type: fc.constant('drain'), reconnectInMs: count }),
};

const claim = { type: fc.constant('claim'), name: text, hostHeader: maybeText, responseTimeoutMs: maybeCount };
const clientMessages = {
  proof: fc.record({
    type: fc.constant('proof'),
    version: count,
    tokenId: text,
    clientId: text,
    sessionId: text,
    exporter: text,
    signature: text,
    agent: text,
  }),
  'claim of a hostname': fc.record({ ...claim, host: text, tcpPort: fc.constant(undefined), tls }),
  'claim of a port': fc.record({
    ...claim,
    host: fc.constant(undefined),
    tcpPort: count,
    tls: fc.constant('relay'),
  }),
  release: fc.record({ type: fc.constant('release'), name: text }),
  leave: fc.record({ type: fc.constant('leave') }),
};

const OPTIONAL: Record<string, true> = {
  host: true,
  tcpPort: true,
  hostHeader: true,
  responseTimeoutMs: true,
  retryInMs: true,
  tls: true,
};

const READERS = [
  ['relay', readRelayMessage, relayMessages],
  ['client', readClientMessage, clientMessages],
] as const;

/** The message, or the code of the error; anything else that is thrown fails the test. */
function read(reader: (input: string) => RelayMessage | ClientMessage, input: string): object | string {
  try {
    return reader(input);
  } catch (error) {
    assert.ok(error instanceof TunnelError, String(error));
    return error.code;
  }
}

for (const [sender, reader, messages] of READERS) {
  for (const [name, arbitrary] of Object.entries(messages) as [string, fc.Arbitrary<object>][]) {
    test(`a ${name} that the ${sender} sends reads back equal, also from a newer peer that says more`, () => {
      fc.assert(
        fc.property(
          arbitrary,
          fc.dictionary(fc.constantFrom('x', 'newer', '__proto__'), fc.jsonValue()),
          (message, more) => {
            assert.deepEqual(read(reader, JSON.stringify(message)), { ...message });
            assert.deepEqual(read(reader, JSON.stringify({ ...more, ...message })), { ...message });
          },
        ),
      );
    });

    test(`a ${name} of the ${sender} with one wrong or missing field is a violation`, () => {
      fc.assert(
        fc.property(
          arbitrary,
          fc.nat(),
          fc.constantFrom(null, [], {}, true, -1, 1.5, 1e300, 'x'.repeat(1025)),
          (message, at, wrong) => {
            const required = Object.keys(JSON.parse(JSON.stringify(message)));
            const field = required[at % required.length] ?? 'type';
            assert.equal(read(reader, JSON.stringify({ ...message, [field]: wrong })), 'PROTOCOL_VIOLATION');
            if (field in OPTIONAL) return;
            assert.equal(read(reader, JSON.stringify({ ...message, [field]: undefined })), 'PROTOCOL_VIOLATION');
          },
        ),
      );
    });
  }

  test(`arbitrary text as a message of the ${sender} is a violation and nothing else`, () => {
    const anything = fc.oneof(
      fc.string({ maxLength: 300, unit: 'binary' }),
      fc.json(),
      fc.jsonValue().map((value) => JSON.stringify({ type: 'claim', name: value })),
      fc.object().map((value) => JSON.stringify(value)),
    );
    fc.assert(
      fc.property(anything, (input) => {
        assert.equal(read(reader, input), 'PROTOCOL_VIOLATION');
      }),
      { numRuns: 500 },
    );
  });

  test(`fields of any kind as a message of the ${sender} make a message or a violation`, () => {
    const types = [...Object.keys(relayMessages), 'proof', 'claim', 'release', 'leave', 'toString', '__proto__'];
    const fields = ['version', 'name', 'host', 'tcpPort', 'code', 'message', 'url', 'reconnectInMs', 'nonce', 'relay'];
    fc.assert(
      fc.property(
        fc.constantFrom(...types),
        fc.dictionary(fc.constantFrom(...fields), fc.jsonValue()),
        (type, rest) => {
          const result = read(reader, JSON.stringify({ ...rest, type }));
          assert.ok(typeof result === 'object' || result === 'PROTOCOL_VIOLATION');
        },
      ),
    );
  });

  for (const [what, input] of Object.entries({
    nothing: '',
    'a list': '[]',
    null: 'null',
    'a number': '1',
    'nesting without end': '['.repeat(16_000),
    'objects in objects without end': '{"type":'.repeat(2_000),
    'more than 16 KiB': JSON.stringify({ type: 'leave', x: 'x'.repeat(MAX_MESSAGE_BYTES) }),
    'a type of the other side': sender === 'relay' ? '{"type":"leave"}' : '{"type":"drain","reconnectInMs":1}',
    'a type that objects inherit': '{"type":"constructor"}',
    'its type in the prototype': '{"__proto__":{"type":"leave"}}',
  })) {
    test(`${what} as a message of the ${sender} is a violation`, () => {
      assert.equal(read(reader, input), 'PROTOCOL_VIOLATION');
    });
  }
}

test('a claim of both a hostname and a port, or of neither, is a violation', () => {
  const both = { type: 'claim', name: 'a', host: 'a.example', tcpPort: 22 };
  assert.equal(read(readClientMessage, JSON.stringify(both)), 'PROTOCOL_VIOLATION');
  assert.equal(read(readClientMessage, JSON.stringify({ type: 'claim', name: 'a' })), 'PROTOCOL_VIOLATION');
});

test('a code that this version does not know reads as INTERNAL', () => {
  const message = readRelayMessage('{"type":"refused","code":"FROM_THE_FUTURE","message":"m"}');
  assert.deepEqual(message, { type: 'refused', code: 'INTERNAL', message: 'm' });
});

test('a violation names the field and shows nothing of its content', () => {
  const secret = 'geheim'.repeat(300);
  assert.throws(
    () => readClientMessage(JSON.stringify({ type: 'release', name: secret })),
    (error) => error instanceof TunnelError && error.message.includes('name') && !error.message.includes('geheim'),
  );
});

test('a claim and its answer that say nothing of TLS mean the relay', () => {
  const claim = readClientMessage('{"type":"claim","name":"a","host":"a.example.com"}');
  const claimed = readRelayMessage('{"type":"claimed","name":"a","url":"https://a.example.com"}');
  assert.deepEqual(['tls' in claim && claim.tls, 'tls' in claimed && claimed.tls], ['relay', 'relay']);
});

test('a way to end TLS that we do not know, or one for a port, is a violation', () => {
  for (const rest of ['"host":"a.example.com","tls":"origin"', '"tcpPort":22,"tls":"end-to-end"']) {
    assert.equal(read(readClientMessage, `{"type":"claim","name":"a",${rest}}`), 'PROTOCOL_VIOLATION');
  }
});
