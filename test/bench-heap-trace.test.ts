/** What a Node process allocates, as its collections tell it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { HEAP_TRACE_FLAGS, HeapTrace } from '../bench/heap-trace.js';

const MIB = 1024 * 1024;
const SCAVENGE =
  '[411:0x7f0c50000b70]       93 ms: Scavenge 8.5 (10.1) -> 7.0 (11.1) MB, 0.6 / 0.0 ms  (average mu = 1)';
const MARK =
  '[411:0x7f0c50000b70]      120 ms: Mark-Compact 12.0 (14.0) -> 5.0 (9.0) MB, 3.6 / 0.0 ms  (average mu = 1)';

test('what came between two collections is counted, from the first one on', () => {
  const trace = new HeapTrace();
  for (const line of [SCAVENGE, '{"event":"listening"}', MARK, SCAVENGE]) trace.read(line);
  assert.deepEqual([trace.allocatedBytes / MIB, trace.collections], [5 + 3.5, 2]);
  trace.restart();
  assert.deepEqual([trace.allocatedBytes, trace.collections], [0, 0]);
});

test('a real Node that allocates 200 MiB is seen to do so', async (t) => {
  // Arrays of doubles: 8 bytes for each element, and never outside the heap.
  const code = 'for (let n = 0; n < 200; n += 1) globalThis.last = new Array(131_072).fill(0.5);';
  const child = spawn(process.execPath, [...HEAP_TRACE_FLAGS, '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => void child.kill('SIGKILL'));
  const trace = new HeapTrace();
  createInterface({ input: child.stdout }).on('line', (line) => trace.read(line));
  await once(child, 'close');
  const mib = trace.allocatedBytes / MIB;
  assert.ok(mib > 120 && mib < 260, `${mib} MiB`);
});
