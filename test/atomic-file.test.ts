/** Files that appear whole or not at all, private from their first byte. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as path from 'node:path';
import test from 'node:test';
import {
  checkPrivate,
  createFileExclusive,
  makePrivateFolder,
  removeFile,
  removeStaleTemporaries,
  writeFileAtomic,
} from '../shared/files/atomic-file.js';
import { startNode } from './support/node-process.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';

test('a written file is private unless told otherwise, and replacing it leaves nothing beside it', (t) => {
  const file = path.join(temporaryFolder(t), 'a');
  writeFileAtomic(file, 'one');
  assert.equal(modeOf(file), '600');
  fs.chmodSync(file, 0o666);
  writeFileAtomic(file, 'two', { mode: 0o644 });
  assert.equal(modeOf(file), '644');
  assert.equal(fs.readFileSync(file, 'utf8'), 'two');
  assert.deepEqual(fs.readdirSync(path.dirname(file)), ['a']);
});

test('the mode holds under any umask', (t) => {
  const file = path.join(temporaryFolder(t), 'a');
  const before = process.umask(0o777);
  t.after(() => process.umask(before));
  writeFileAtomic(file, 'one', { mode: 0o644 });
  assert.equal(modeOf(file), '644');
});

test('an exclusive file is made once and never replaced', (t) => {
  const file = path.join(temporaryFolder(t), 'a');
  assert.equal(createFileExclusive(file, 'first'), true);
  assert.equal(createFileExclusive(file, 'second'), false);
  assert.equal(fs.readFileSync(file, 'utf8'), 'first');
  assert.equal(modeOf(file), '600');
  assert.equal(fs.statSync(file).nlink, 1);
  assert.deepEqual(fs.readdirSync(path.dirname(file)), ['a']);
});

test('a symbolic link stays a link and its target is replaced', (t) => {
  const folder = temporaryFolder(t);
  fs.writeFileSync(path.join(folder, 'target'), 'old');
  fs.symlinkSync('target', path.join(folder, 'link'));
  writeFileAtomic(path.join(folder, 'link'), 'new');
  assert.equal(fs.readlinkSync(path.join(folder, 'link')), 'target');
  assert.equal(fs.readFileSync(path.join(folder, 'target'), 'utf8'), 'new');
});

test('a write that the disk refuses says where, and leaves nothing behind', (t) => {
  const folder = temporaryFolder(t);
  const place = path.join(folder, 'taken');
  fs.mkdirSync(place);
  fs.writeFileSync(path.join(place, 'inside'), '');
  assert.throws(() => writeFileAtomic(place, 'x'), { code: 'CONFIG_INVALID', message: /^Cannot write .*taken: / });
  assert.throws(() => writeFileAtomic(path.join(folder, 'none', 'x'), 'x'), { code: 'CONFIG_INVALID' });
  assert.deepEqual(fs.readdirSync(folder), ['taken']);
});

test('removing tells whether there was a file', (t) => {
  const file = path.join(temporaryFolder(t), 'a');
  writeFileAtomic(file, 'one');
  assert.equal(removeFile(file), true);
  assert.equal(removeFile(file), false);
});

test('private folders are made with their parents, and existing ones stay as they are', (t) => {
  const folder = temporaryFolder(t);
  fs.mkdirSync(path.join(folder, 'open'));
  fs.chmodSync(path.join(folder, 'open'), 0o755);
  makePrivateFolder(path.join(folder, 'open', 'a', 'b'));
  makePrivateFolder(path.join(folder, 'open', 'a', 'b'));
  const modes = ['open', 'open/a', 'open/a/b'].map((name) => modeOf(path.join(folder, name)));
  assert.deepEqual(modes, ['755', '700', '700']);
});

test('what other users may read or write is refused with the cure', () => {
  for (const mode of [0o640, 0o604, 0o620, 0o601]) {
    assert.throws(() => checkPrivate('/x/token', mode), { code: 'CONFIG_INVALID', message: /chmod go= \/x\/token/ });
  }
  checkPrivate('/x/token', 0o100600);
});

test('root gives new files and folders to the owner of the folder around them', (t) => {
  if (process.getuid?.() !== 0) return t.skip('needs root');
  const folder = temporaryFolder(t);
  fs.chownSync(folder, 12_345, 23_456);
  writeFileAtomic(path.join(folder, 'a'), 'one');
  makePrivateFolder(path.join(folder, 'b', 'c'));
  for (const name of ['a', 'b', 'b/c']) {
    const { uid, gid } = fs.statSync(path.join(folder, name));
    assert.deepEqual([uid, gid], [12_345, 23_456]);
  }
});

test('a process killed at any moment leaves the old text or the new one, and its rest is cleared later', async (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, 'state');
  const code = `
    const { writeFileAtomic } = await load('shared/files/atomic-file.js');
    const [file] = process.argv.slice(-1);
    for (let n = 0; ; n += 1) {
      writeFileAtomic(file, String(n % 10).repeat(200_000));
      if (n === 0) console.log('writing');
    }`;
  for (let round = 0; round < 12; round += 1) {
    const writer = startNode(t, code, [file]);
    await writer.line();
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 15));
    writer.child.kill('SIGKILL');
    assert.equal(await writer.ended(), 'SIGKILL', writer.errors());
    const text = fs.readFileSync(file, 'latin1');
    assert.equal(text, text.charAt(0).repeat(200_000), 'a part of a write became visible');
  }
  fs.writeFileSync(path.join(folder, '.state.0123456789abcdef.tmp'), 'rest');
  removeStaleTemporaries(folder);
  assert.ok(fs.existsSync(path.join(folder, '.state.0123456789abcdef.tmp')), 'it may still be in use');
  removeStaleTemporaries(folder, Date.now() + 3_600_000);
  assert.deepEqual(fs.readdirSync(folder), ['state']);
});
