/** What a log record is, and that it reaches its destination: JSON, or one line of text for a person. */
import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createLog, type Log, type LogOptions, silentLog } from '../shared/log.js';
import { Secret } from '../shared/secret.js';
import { startNode } from './support/node-process.js';

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const STAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /;

function recordingLog(options: Partial<LogOptions> & { isTTY?: boolean } = {}): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line), isTTY: options.isTTY };
  return { log: createLog({ level: 'info', format: 'auto', env: {}, ...options, destination }), lines };
}

test('a record is one line of JSON with time, level, process and message', () => {
  const { log, lines } = recordingLog();
  log.info({ event: 'listening', port: 443 }, 'relay listens');
  assert.equal(lines.length, 1);
  const { time, ...record } = JSON.parse(lines[0] ?? '');
  assert.equal(new Date(time).toISOString(), time);
  assert.deepEqual(record, { level: 'info', pid: process.pid, event: 'listening', port: 443, msg: 'relay listens' });
});

test('levels below the chosen one are not written', () => {
  const { log, lines } = recordingLog({ level: 'warn' });
  log.debug({}, 'debug');
  log.info({}, 'info');
  log.warn({}, 'warn');
  log.child({ session: 's1' }).info({}, 'info of child');
  log.error({}, 'error');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).msg),
    ['warn', 'error'],
  );
});

test('records of a child have its fields, as safe as their own', () => {
  const { log, lines } = recordingLog();
  const child = log.child({ session: 's1', key: new Secret('hunter2'), token: 'hunter2' }).child({ tunnel: 'home' });
  child.info({ code: 'LINK_LOST' }, 'link lost');
  const record = JSON.parse(lines[0] ?? '');
  assert.deepEqual(
    [record.session, record.tunnel, record.code, record.key, record.token],
    ['s1', 'home', 'LINK_LOST', '[secret]', '[secret]'],
  );
  assert.ok(!lines.join().includes('hunter2'));
});

test('on a terminal a record is a line of text with colours', () => {
  const { log, lines } = recordingLog({ isTTY: true });
  log.warn({ tunnel: 'home' }, 'origin refused stream');
  const shown = lines[0]?.replaceAll('\u001b[', '<') ?? '';
  assert.ok(shown.endsWith('<33mWARN <0m origin refused stream <2mtunnel=<0mhome\n'), shown);
});

test('NO_COLOR, a dumb terminal and a file mean no colours', () => {
  for (const options of [
    { isTTY: true, env: { NO_COLOR: '1' } },
    { isTTY: true, env: { TERM: 'dumb' } },
    { format: 'text' as const },
  ]) {
    const { log, lines } = recordingLog(options);
    log.info({ ms: 12 }, 'stream closed');
    assert.equal((lines[0] ?? '').replace(STAMP, ''), 'INFO  stream closed ms=12\n');
  }
});

test('JSON can be asked for on a terminal', () => {
  const { log, lines } = recordingLog({ isTTY: true, format: 'json' });
  log.info({}, 'x');
  assert.equal(JSON.parse(lines[0] ?? '').msg, 'x');
});

test('text quotes values that could be taken for something else', () => {
  const { log, lines } = recordingLog({ format: 'text' });
  const fields = {
    a: 'b c=d',
    empty: '',
    quote: 'say "x"',
    list: [1, 'two'],
    none: null,
    nested: { code: 'X', n: 1 },
    path: '/a?b',
  };
  log.info(fields, 'msg');
  assert.equal(
    (lines[0] ?? '').replace(STAMP, ''),
    'INFO  msg a="b c=d" empty="" quote="say \\"x\\"" list=[1,"two"] none=null nested.code=X nested.n=1 path=/a?b\n',
  );
});

test('what a visitor sent cannot drive the terminal or make a second line', () => {
  const hostile = fc.string({ unit: 'binary', maxLength: 300 });
  const piece = fc.constantFrom(
    '\u001b[2J',
    '\r\n',
    '\u009b31m',
    '\u202e',
    '\u2028',
    '\0',
    '\u007f',
    '\ud800',
    '\u200b',
    '"',
    '\\',
  );
  const nasty = fc.array(fc.oneof(hostile, piece), { maxLength: 5 }).map((parts) => parts.join(''));
  for (const format of ['text', 'json'] as const) {
    const { log, lines } = recordingLog({ format });
    fc.assert(
      fc.property(nasty, nasty, (name, value) => {
        lines.length = 0;
        log.child({ [`c${name}`]: value }).info({ visitor: value, [`k${name}`]: { [name]: [value] } }, value);
        assert.equal(lines.length, 1);
        assert.ok(lines[0]?.endsWith('\n'));
        assert.doesNotMatch(lines[0]?.slice(0, -1) ?? '', UNPRINTABLE);
      }),
      { numRuns: 300 },
    );
  }
});

test('JSON keeps what was escaped', () => {
  const { log, lines } = recordingLog({ format: 'json' });
  const value = 'a\u001b\u007f\u0085\u2028\u202e"\\é😀';
  log.info({ value }, 'x');
  assert.equal(JSON.parse(lines[0] ?? '').value, value);
});

test('a message that looks like a format is not one', () => {
  const { log, lines } = recordingLog();
  log.info({}, '100%s %d %%');
  assert.equal(JSON.parse(lines[0] ?? '').msg, '100%s %d %%');
});

test('the silent log takes everything', () => {
  assert.equal(silentLog.child({ a: 1 }), silentLog);
  for (const level of ['debug', 'info', 'warn', 'error'] as const) silentLog[level]({}, 'nothing');
});

for (const name of ['stdout', 'stderr'] as const) {
  test(`records on ${name} are written before the process ends, however it ends`, async (t) => {
    const code = `
      const { createLog } = await load('shared/log.js');
      const log = createLog({ level: 'info', format: 'auto', destination: process.argv[1] });
      for (let i = 0; i < 2000; i += 1) log.info({ i, filler: 'x'.repeat(100) }, 'record');
      process.kill(process.pid, 'SIGKILL');
    `;
    const { child, ended } = startNode(t, code, [name]);
    const output = child[name];
    assert.ok(output);
    const [written, end] = await Promise.all([text(output), ended()]);
    assert.equal(end, 'SIGKILL');
    const lines = written.trimEnd().split('\n');
    assert.deepEqual([lines.length, JSON.parse(lines.at(-1) ?? '').i], [2_000, 1_999]);
  });
}

test('a destination that was closed by its reader does not end the process', async (t) => {
  const code = `
    const { createLog } = await load('shared/log.js');
    const log = createLog({ level: 'info', format: 'json' });
    process.stdin.on('end', () => {
      for (let i = 0; i < 100; i += 1) log.info({ i }, 'to nobody');
      setImmediate(() => process.exit(7));
    }).resume();
  `;
  const { child, ended, errors } = startNode(t, code, []);
  child.stdout?.destroy();
  child.stdin?.end();
  assert.equal(await ended(), 7, errors());
});
