/** What both programs say of a command line that is wrong. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { runTool } from './support/tool-process.js';
import { RELAY_PROGRAM, TUNNEL_PROGRAM } from './support/world.js';

const PROGRAMS = [
  ['relay', RELAY_PROGRAM],
  ['tunnel', TUNNEL_PROGRAM],
] as const;

for (const [name, program] of PROGRAMS) {
  test(`an error of usage begins with ${name}, as all its errors do`, async (t: TestContext) => {
    for (const args of [['no-such-verb'], ['status', '--no-such-option']]) {
      const { code, stderr } = await runTool(t, process.execPath, [program, ...args]);
      assert.equal(code, 64);
      assert.match(stderr, new RegExp(`^${name}: unknown (?:command|option) '`));
    }
  });
}
