/** Lines on their way to a file or a pipe: nobody waits, what is too much is counted, and files stay bounded. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { test } from 'node:test';
import { LineSink } from '../shared/access-log/line-sink.js';
import { startNode } from './support/node-process.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';
import { until } from './support/within.js';

function fileSink(file: string, changes: { maxFileBytes?: number; maxFiles?: number; maxWaitingBytes?: number } = {}) {
  const troubles: (string | undefined)[] = [];
  const onTrouble = (reason: string | undefined) => void troubles.push(reason);
  return { sink: new LineSink({ to: { file }, maxFileBytes: 1 << 20, maxFiles: 3, onTrouble, ...changes }), troubles };
}

const linesIn = (file: string) => fs.readFileSync(file, 'utf8').trimEnd().split('\n');

test('lines come to the file in their order, behind what is there, also those written just before the end', async (t) => {
  const file = path.join(temporaryFolder(t), 'logs', 'access.log');
  const first = fileSink(file).sink;
  first.write('one');
  await until('first line', async () => (fs.existsSync(file) && linesIn(file)[0]) || undefined);
  first.write('two');
  await first.close();
  await first.close();
  first.write('lost');
  const second = fileSink(file).sink;
  second.write('three');
  await second.close();
  assert.deepEqual([linesIn(file), modeOf(file)], [['one', 'two', 'three'], '640']);
});

test('a full file moves on, and no more than max_files stay', async (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, 'access.log');
  for (let n = 1; n <= 6; n += 1) {
    const { sink } = fileSink(file, { maxFileBytes: 10 });
    sink.write(`line ${n} ......`);
    await sink.close();
  }
  assert.deepEqual(fs.readdirSync(folder).sort(), ['access.log', 'access.log.1', 'access.log.2']);
  const newest = ['access.log.2', 'access.log.1', 'access.log'].flatMap((name) => linesIn(path.join(folder, name)));
  assert.deepEqual(newest, ['line 4 ......', 'line 5 ......', 'line 6 ......']);
});

test('a file that was moved away is left alone once it was opened anew', async (t) => {
  const file = path.join(temporaryFolder(t), 'access.log');
  const { sink } = fileSink(file);
  sink.write('one');
  await until('first line', async () => (fs.existsSync(file) && linesIn(file)[0]) || undefined);
  fs.renameSync(file, `${file}.moved`);
  sink.reopen();
  sink.write('two');
  await sink.close();
  assert.deepEqual([linesIn(`${file}.moved`), linesIn(file)], [['one'], ['two']]);
});

test('more than may wait is dropped and counted, and told once', async (t) => {
  const file = path.join(temporaryFolder(t), 'access.log');
  const { sink, troubles } = fileSink(file, { maxWaitingBytes: 100 });
  for (let n = 0; n < 50; n += 1) sink.write(`line ${n}`.padEnd(24));
  assert.equal(sink.dropped, 46);
  await sink.close();
  assert.equal(linesIn(file).length, 4);
  assert.deepEqual(troubles, ['lines come faster than they can be written', undefined]);
});

test('a disk that refuses costs lines and nothing else, and it goes on when it can', async (t) => {
  const folder = path.join(temporaryFolder(t), 'logs');
  fs.writeFileSync(folder, 'no folder');
  const file = path.join(folder, 'access.log');
  const { sink, troubles } = fileSink(file);
  sink.write('lost');
  await until('trouble', async () => troubles[0]);
  fs.rmSync(folder);
  sink.write('kept');
  await sink.close();
  assert.deepEqual([sink.dropped, linesIn(file).filter(Boolean), troubles.length], [1, ['kept'], 2]);
});

test('a reader of stdout that stands still holds up nobody, and gets every line whole when it goes on', async (t) => {
  const code = `
    const { LineSink } = await load('shared/access-log/line-sink.js');
    const sink = new LineSink({ to: 'stdout', maxFileBytes: 1, maxFiles: 1, onTrouble: () => {}, maxWaitingBytes: 400_000 });
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
      for (let n = 0; n < 100; n += 1) sink.write('x'.repeat(999));
      if (turns < 20) return;
      clearInterval(timer);
      console.error('turned ' + (sink.dropped > 0));
      process.stdin.once('data', () => sink.close().then(() => process.exit(0)));
    }, 5);
  `;
  const child = startNode(t, code, []);
  child.child.stdout?.pause();
  await until('turns', async () => child.errors() || undefined);
  assert.equal(child.errors().trim(), 'turned true');
  child.child.stdin?.write('go\n');
  child.child.stdout?.resume();
  let lines = 0;
  for (;;) {
    const line = await child.line().catch(() => undefined);
    if (line === undefined) break;
    assert.equal(line.length, 999);
    lines += 1;
  }
  assert.ok(lines >= 300 && lines < 2_000, `${lines} lines`);
});
