/** What of a value may stand in a log record. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { TunnelError } from '../shared/errors.js';
import { loggable } from '../shared/log-fields.js';
import { Secret } from '../shared/secret.js';

test('a secret is never logged, wherever it stands', () => {
  const token = new Secret('hunter2');
  const plain = loggable({ token, a: token, b: { c: [token] }, d: `of ${token}` }, true);
  assert.deepEqual(plain, { token: '[secret]', a: '[secret]', b: { c: ['[secret]'] }, d: 'of [secret]' });
});

test('what stands under the name of a credential is never logged', () => {
  const head = {
    Authorization: 'Bearer x',
    'proxy-authorization': 'x',
    Cookie: 'a=b',
    'Set-Cookie': ['a=b'],
    host: 'a',
  };
  assert.deepEqual(loggable({ head, password: 'x', tokenId: 'id' }, false), {
    head: {
      Authorization: '[secret]',
      'proxy-authorization': '[secret]',
      Cookie: '[secret]',
      'Set-Cookie': '[secret]',
      host: 'a',
    },
    password: '[secret]',
    tokenId: 'id',
  });
});

test('an error of the table is its code and message', () => {
  const error = new TunnelError('ORIGIN_REFUSED', 'Cannot reach origin');
  assert.deepEqual(loggable({ error }, false), { error: { code: 'ORIGIN_REFUSED', message: 'Cannot reach origin' } });
});

test('an error of the table shows its stack for debugging', () => {
  const { error } = loggable({ error: new TunnelError('ORIGIN_REFUSED', 'x') }, true) as { error: { stack: string } };
  assert.match(error.stack, /^TunnelError: x\n {4}at /);
});

test('the cause of an expected error is told without a stack', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  const error = new TunnelError('ORIGIN_REFUSED', 'x', { cause: refused });
  const cause = { code: 'ECONNREFUSED', message: 'connect ECONNREFUSED' };
  assert.deepEqual(loggable({ error }, false), { error: { code: 'ORIGIN_REFUSED', message: 'x', cause } });
  const other = new TunnelError('PROTOCOL_VIOLATION', 'x', { cause: new RangeError('y') });
  const named = { name: 'RangeError', message: 'y' };
  assert.deepEqual(loggable({ other }, false), { other: { code: 'PROTOCOL_VIOLATION', message: 'x', cause: named } });
});

test('a mistake of ours shows its stack, also behind INTERNAL', () => {
  const mistake = new TypeError('x is not a function');
  const fields = loggable({ mistake, error: new TunnelError('INTERNAL', 'y', { cause: mistake }) }, false);
  const { mistake: plain, error } = fields as { mistake: { stack: string }; error: { cause: { stack: string } } };
  assert.match(plain.stack, /^TypeError: x is not a function\n {4}at /);
  assert.equal(error.cause.stack, plain.stack);
});

test('texts, lists, objects and depth are bounded', () => {
  const deep = { a: { b: { c: { d: 1 } } } };
  const plain = loggable({ long: 'x'.repeat(100_000), list: Array(1_000).fill(1), deep }, false);
  const { long, list } = plain as { long: string; list: number[] };
  assert.deepEqual([long.length, long.at(-1), list.length], [512, '…', 32]);
  assert.deepEqual(plain.deep, { a: { b: { c: '[object]' } } });
  const wide = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`k${i}`, i]));
  assert.equal(Object.keys(loggable(wide, false)).length, 32);
});

test('a value that holds itself ends', () => {
  const loop: { self?: unknown } = {};
  loop.self = loop;
  const error = new Error('x');
  error.cause = error;
  assert.doesNotThrow(() => JSON.stringify(loggable({ loop, error }, true)));
});

test('values that JSON does not know have a text', () => {
  const values = {
    n: Number.NaN,
    i: -Infinity,
    b: 10n,
    s: Symbol('s'),
    u: new URL('https://a.example/x'),
    d: new Date(0),
    z: new Date(Number.NaN),
    y: Buffer.from('hunter2'),
  };
  assert.deepEqual(loggable(values, false), {
    n: 'NaN',
    i: '-Infinity',
    b: '10',
    s: 'Symbol(s)',
    u: 'https://a.example/x',
    d: '1970-01-01T00:00:00.000Z',
    z: 'Invalid Date',
    y: '[7 bytes]',
  });
});

test('a field cannot stand for time, level or message', () => {
  assert.deepEqual(loggable({ level: 'error', time: 1, msg: 'x' }, false), { level_: 'error', time_: 1, msg_: 'x' });
});

test('a field that cannot be read does not stop the log', () => {
  const fields = {
    get broken(): string {
      throw new Error('no');
    },
  };
  assert.deepEqual(loggable(fields, false), { fields: '[unreadable]' });
});

test('any value is plain data that JSON holds', () => {
  fc.assert(
    fc.property(
      fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true, withTypedArray: true }),
      (value) => {
        const plain = loggable({ value }, false);
        assert.ok(JSON.stringify(plain).length < 10_000_000);
      },
    ),
  );
});
