/** What the main process and its TLS workers say to each other: every message survives the wire, split anywhere. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  greetingBytes,
  readGreeting,
  type Signal,
  SignalReader,
  signalBytes,
} from '../relay-server/workers/hop-wire.js';

const id = fc.nat({ max: 0xffff_ffff });
const latin1 = fc.uint8Array({ maxLength: 255 }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const bytes = fc.uint8Array({ maxLength: 255 }).map((some) => Buffer.from(some));
const kind = fc.constantFrom('ready', 'failed', 'aborted', 'closed') as fc.Arbitrary<Signal['kind']>;

test('a greeting is read as it was written, and not before it is complete; what follows it stays', () => {
  fc.assert(
    fc.property(id, latin1, latin1, bytes, bytes, (id, version, alpn, exporter, rest) => {
      const greeting = { id, version, alpn, exporter };
      const written = greetingBytes(greeting);
      assert.deepEqual(readGreeting(Buffer.concat([written, rest])), { value: greeting, usedBytes: written.length });
      for (let end = 0; end < written.length; end += 1) assert.equal(readGreeting(written.subarray(0, end)), undefined);
    }),
    { numRuns: 50 },
  );
});

test('signals are read as they were written, wherever their bytes are split', () => {
  const signal = fc.record({ kind, id, text: latin1 }, { noNullPrototype: true });
  fc.assert(
    fc.property(fc.array(signal, { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 40 })), (signals, cuts) => {
      const read: Signal[] = [];
      const reader = new SignalReader((one) => read.push(one));
      let rest = Buffer.concat(signals.map((one) => signalBytes(one.kind, one.id, one.text)));
      for (const cut of cuts) {
        reader.read(rest.subarray(0, cut));
        rest = rest.subarray(cut);
      }
      reader.read(rest);
      assert.deepEqual(read, signals);
    }),
  );
});

test('a text that is too long is cut, and an unknown kind is refused', () => {
  const read: Signal[] = [];
  const reader = new SignalReader((one) => read.push(one));
  reader.read(signalBytes('failed', 7, 'x'.repeat(1_000)));
  assert.deepEqual(read, [{ kind: 'failed', id: 7, text: 'x'.repeat(255) }]);
  assert.throws(() => reader.read(Buffer.from([9, 0, 0, 0, 0, 0])), { code: 'PROTOCOL_VIOLATION' });
});
