/** What both programs say of a command line that is wrong. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool, ToolProcess } from './support/tool-process.js';
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

test('a verb whose reader has gone ends as SIGPIPE would end it, without a word', async (t) => {
  const none = join(temporaryFolder(t), 'none.yaml');
  // A doctor that has said all it knows before it could notice ends with its own exit code.
  const cases: [string, string[], number[]][] = [
    [TUNNEL_PROGRAM, ['doctor', '--config', none], [78, 141]],
    [TUNNEL_PROGRAM, ['status', '--watch', '--json'], [141]],
    [RELAY_PROGRAM, ['doctor', '--config', none], [78, 141]],
    [RELAY_PROGRAM, ['--help'], [0]],
  ];
  for (const [program, args, codes] of cases) {
    const tool = new ToolProcess(t, process.execPath, [program, ...args]);
    tool.child.stdout.destroy();
    let said = '';
    tool.child.stderr.on('data', (piece: Buffer) => {
      said += piece;
    });
    const code = await tool.closed;
    assert.ok(code !== null && codes.includes(code), `${args.join(' ')} ended with ${code}`);
    assert.doesNotMatch(said, /EPIPE|\n {4}at /);
  }
});
