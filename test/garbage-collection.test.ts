import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

const MODULE = new URL('../shared/garbage-collection.js', import.meta.url).href;

test('this Node still knows the flag that frees buffers at once', async () => {
  const code = `import { freeBuffersAtOnce } from ${JSON.stringify(MODULE)}; freeBuffersAtOnce(); console.log('free');`;
  const args = ['--input-type=module', '--eval', code];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { timeout: 20_000 });
  // V8 does not throw at a flag that it has lost: it complains on stderr, in every start of relay and tunnel.
  assert.deepEqual({ stdout, stderr }, { stdout: 'free\n', stderr: '' });
});
