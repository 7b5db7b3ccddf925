import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FloodGuard } from '../shared/http2/flood-guard.js';

const MIB = 1024 * 1024;
const STREAMS = 100;

test('a burst of twice the requests that may run at a time may be cut, one more may not', () => {
  const guard = new FloodGuard(STREAMS, 0);
  for (let count = 0; count < 2 * STREAMS; count += 1) assert.ok(guard.countCut(0));
  assert.ok(!guard.countCut(0));
});

test('cuts are forgiven with time: 33 a second', () => {
  const guard = new FloodGuard(STREAMS, 0);
  for (let count = 0; count < 2 * STREAMS; count += 1) guard.countCut(0);
  for (let count = 0; count < 33; count += 1) assert.ok(guard.countCut(1_001));
  assert.ok(!guard.countCut(1_001));
});

test('requests and bodies are no chatter, however many', () => {
  const guard = new FloodGuard(STREAMS, 0);
  for (let second = 1; second < 100; second += 1) {
    guard.explainReceived(10 * MIB);
    assert.ok(guard.countReceived(second * 10 * MIB, second * 1_000));
  }
});

test('a MiB of chatter at once is too much, and so is more than 64 KiB a second for long', () => {
  const quick = new FloodGuard(STREAMS, 0);
  assert.ok(quick.countReceived(MIB, 0));
  assert.ok(!quick.countReceived(MIB + 1, 0));
  const steady = new FloodGuard(STREAMS, 0);
  let second = 0;
  while (steady.countReceived(second * 128 * 1024, second * 1_000)) second += 1;
  assert.equal(second, 16, 'seconds at twice the rate, until a MiB is left over');
  const calm = new FloodGuard(STREAMS, 0);
  for (let at = 0; at < 1_000; at += 1) assert.ok(calm.countReceived(at * 64 * 1024, at * 1_000));
});

test('who reads may say so: a quarter of what was written', () => {
  const guard = new FloodGuard(STREAMS, 0);
  for (let count = 0; count < 100; count += 1) guard.explainWritten(MIB);
  assert.ok(guard.countReceived(26 * MIB, 0));
  assert.ok(!guard.countReceived(27 * MIB, 0));
});
