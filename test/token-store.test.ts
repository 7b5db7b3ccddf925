/** Tokens on disk: one private file each, changed in one step, seen by a running relay within a second. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as path from 'node:path';
import test, { type TestContext } from 'node:test';
import fc from 'fast-check';
import { makeGrants } from '../relay-server/sessions/grants.js';
import {
  formatTokenRecord,
  isExpired,
  parseTokenRecord,
  type TokenRecord,
} from '../relay-server/sessions/token-record.js';
import { TokenStore } from '../relay-server/sessions/token-store.js';
import type { TokenWatch, TokenWatchOptions } from '../relay-server/sessions/token-watch.js';
import type { TunnelError } from '../shared/errors.js';
import { generateToken, parseToken } from '../shared/token.js';
import { startNode } from './support/node-process.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';

const grants = makeGrants(['*.example.com'], ['2200-2299']);

/** The running relay's view of a store, with a wait for its next change and next problem. */
function startWatch(t: TestContext, store: TokenStore, options: TokenWatchOptions = {}) {
  const waiting: (() => void)[] = [];
  const problems: TunnelError[] = [];
  const onChange = () => waiting.splice(0).forEach((resolve) => void resolve());
  const watch = store.watch({ intervalMs: 20, onChange, onProblem: (problem) => problems.push(problem), ...options });
  t.after(() => watch.close());
  const changed = () => new Promise<void>((resolve) => void waiting.push(resolve));
  return { watch, problems, changed };
}

function names(watch: TokenWatch): readonly string[] {
  return watch.all().map(({ name }) => name);
}

test('a token is kept in a private file that holds nothing which could log in', (t) => {
  const stateDir = path.join(temporaryFolder(t), 'state');
  const { record, text } = TokenStore.open(stateDir).create('home', grants, Date.UTC(2030, 0, 1));
  const file = path.join(stateDir, 'tokens', 'home.json');
  assert.deepEqual([modeOf(stateDir), modeOf(path.dirname(file)), modeOf(file)], ['700', '700', '600']);
  const kept = fs.readFileSync(file, 'utf8');
  assert.ok(!kept.includes(text.reveal().split('.')[2] ?? ''), 'the seed is in the file');
  assert.deepEqual(JSON.parse(kept), {
    version: 1,
    name: 'home',
    id: record.id,
    publicKey: parseToken(text).publicKey,
    grants: { hosts: ['*.example.com'], tcpPorts: ['2200-2299'] },
    createdAt: new Date(record.createdAtMs).toISOString(),
    expiresAt: '2030-01-01T00:00:00.000Z',
  });
});

test('tokens are listed by name', (t) => {
  const store = TokenStore.open(temporaryFolder(t));
  const two = store.create('two', grants).record;
  const one = store.create('one', grants).record;
  assert.deepEqual(store.list(), [one, two]);
});

test('a taken or unusable name is refused and the token that has it stays', (t) => {
  const store = TokenStore.open(temporaryFolder(t));
  const { record } = store.create('home', grants);
  assert.throws(() => store.create('home', grants), { code: 'USAGE_INVALID', message: /relay token rotate home/ });
  for (const name of ['', '.', '../home', 'a/b', 'HOME', 'a.json', '-x', 'a'.repeat(64), 'a\0', 'ä']) {
    assert.throws(() => store.create(name, grants), { code: 'USAGE_INVALID' }, name);
    assert.throws(() => store.revoke(name), { code: 'USAGE_INVALID' }, name);
    assert.throws(() => store.rotate(name), { code: 'USAGE_INVALID' }, name);
  }
  assert.deepEqual(store.list(), [record]);
});

test('a revoked token is gone, and there is none to revoke or rotate any more', (t) => {
  const store = TokenStore.open(temporaryFolder(t));
  store.create('home', grants);
  store.revoke('home');
  assert.deepEqual(store.list(), []);
  for (const act of [() => store.revoke('home'), () => store.rotate('home')]) {
    assert.throws(act, { code: 'USAGE_INVALID', message: /there is none/ });
  }
});

test('a rotated token has a new id and key, and its grants and end stay', (t) => {
  const store = TokenStore.open(temporaryFolder(t));
  const endMs = Date.now() + 60_000;
  const old = store.create('home', grants, endMs).record;
  const { record, text } = store.rotate('home');
  assert.notEqual(record.id, old.id);
  assert.equal(parseToken(text).publicKey, record.publicKey);
  assert.deepEqual([record.grants, record.expiresAtMs], [grants, endMs]);
  assert.deepEqual(store.list(), [record]);
  assert.equal(store.rotate('home', endMs + 1).record.expiresAtMs, endMs + 1);
});

test('an expired token is rotated only with a new end', (t) => {
  const store = TokenStore.open(temporaryFolder(t));
  store.create('home', grants, Date.now() - 1);
  assert.throws(() => store.rotate('home'), { code: 'USAGE_INVALID', message: /--expires/ });
  assert.equal(isExpired(store.rotate('home', Date.now() + 60_000).record), false);
});

test('a file that is damaged, strange or open to others stops the relay from starting, and is named', (t) => {
  const stateDir = temporaryFolder(t);
  const store = TokenStore.open(stateDir);
  const { record } = store.create('home', grants);
  const file = path.join(stateDir, 'tokens', 'home.json');
  const good = fs.readFileSync(file, 'utf8');
  const bad: [string, RegExp][] = [
    ['', /JSON/],
    [good.slice(0, 40), /JSON/],
    ['[]', /the file is not an object/],
    [good.replace('"version": 1', '"version": 2'), /version must be 1/],
    [good.replace('"home"', '"hom"'), /name must be "home"/],
    [good.replace(record.id, 'short'), /not a token id/],
    [good.replace(record.publicKey, 'A'.repeat(43)), /no Ed25519 key/],
    [good.replace('"hosts"', '"host"'), /grant "host" is unknown/],
    [good.replace('*.example.com', '*'), /host must be/],
    [good.replace('2200-2299', '2299-2200'), /TCP port must be/],
    [good.replace('"createdAt"', '"maxStreams"'), /key "maxStreams" is unknown/],
    [good.replace(/"createdAt": "[^"]*"/, '"createdAt": "soon"'), /createdAt is not a time/],
    ['x'.repeat(300_000), /longer than/],
  ];
  for (const [text, expected] of bad) {
    fs.writeFileSync(file, text);
    assert.throws(() => store.watch(), { code: 'CONFIG_INVALID', message: expected });
    assert.throws(() => store.list(), { code: 'CONFIG_INVALID', message: /tokens\/home\.json/ });
  }
  fs.writeFileSync(file, good);
  fs.chmodSync(file, 0o640);
  assert.throws(() => store.watch(), { code: 'CONFIG_INVALID', message: /0640.*chmod go= .*home\.json/ });
  store.revoke('home');
  assert.deepEqual(store.list(), [], 'even a damaged token can be revoked');
});

test('a tokens folder that is open to others is refused', (t) => {
  const stateDir = temporaryFolder(t);
  TokenStore.open(stateDir);
  fs.chmodSync(path.join(stateDir, 'tokens'), 0o755);
  assert.throws(() => TokenStore.open(stateDir), { code: 'CONFIG_INVALID', message: /chmod go= .*tokens/ });
});

test('two files with one id are refused', (t) => {
  const stateDir = temporaryFolder(t);
  const store = TokenStore.open(stateDir);
  const { record } = store.create('home', grants);
  const copy = path.join(stateDir, 'tokens', 'copy.json');
  fs.writeFileSync(copy, formatTokenRecord({ ...record, name: 'copy' }), { mode: 0o600 });
  assert.throws(() => store.watch(), { code: 'CONFIG_INVALID', message: /home\.json.*its id is that of token copy/ });
});

test('a running relay sees tokens come, change and go', async (t) => {
  const store = TokenStore.open(temporaryFolder(t));
  const { watch, problems, changed } = startWatch(t, store);
  let next = changed();
  const { record } = store.create('home', grants);
  await next;
  assert.deepEqual(watch.get(record.id), record);

  next = changed();
  const rotated = store.rotate('home').record;
  await next;
  assert.equal(watch.get(record.id), undefined);
  assert.deepEqual(watch.get(rotated.id), rotated);

  next = changed();
  store.revoke('home');
  await next;
  assert.equal(watch.get(rotated.id), undefined);
  assert.deepEqual(problems, []);
});

test('unchanged files are the same records at every look', async (t) => {
  const store = TokenStore.open(temporaryFolder(t));
  const { record } = store.create('home', grants);
  const { watch, changed } = startWatch(t, store);
  const before = watch.get(record.id);
  const next = changed();
  store.create('other', grants);
  await next;
  assert.equal(watch.get(record.id), before);
});

test('a file that breaks while the relay runs is a revoked token and one report, until it is repaired', async (t) => {
  const stateDir = temporaryFolder(t);
  const store = TokenStore.open(stateDir);
  const { record } = store.create('home', grants);
  const file = path.join(stateDir, 'tokens', 'home.json');
  const { watch, problems, changed } = startWatch(t, store);
  let next = changed();
  fs.chmodSync(file, 0o644);
  await next;
  assert.equal(watch.get(record.id), undefined);

  next = changed();
  store.create('other', grants);
  await next;
  assert.deepEqual(names(watch), ['other']);
  assert.deepEqual(
    problems.map(({ code }) => code),
    ['CONFIG_INVALID'],
  );
  assert.match(problems[0]?.message ?? '', /0644.*chmod/);

  next = changed();
  fs.chmodSync(file, 0o600);
  await next;
  assert.deepEqual(watch.get(record.id), record);
});

test('a tokens folder that vanishes while the relay runs revokes everything', async (t) => {
  const stateDir = temporaryFolder(t);
  const store = TokenStore.open(stateDir);
  store.create('home', grants);
  const { watch, problems, changed } = startWatch(t, store);
  const next = changed();
  fs.renameSync(path.join(stateDir, 'tokens'), path.join(stateDir, 'gone'));
  await next;
  assert.deepEqual(names(watch), []);
  assert.match(problems[0]?.message ?? '', /Cannot read token folder/);
});

test('the relay is told when a token expires, and the token says that it has', async (t) => {
  const store = TokenStore.open(temporaryFolder(t));
  const { record } = store.create('home', grants, Date.now() + 150);
  const { watch, changed } = startWatch(t, store);
  assert.equal(isExpired(watch.get(record.id) ?? assert.fail('unknown')), false);
  await changed();
  assert.equal(isExpired(watch.get(record.id) ?? assert.fail('unknown')), true);
});

test('a closed watch looks no more', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const store = TokenStore.open(temporaryFolder(t));
  const { watch } = startWatch(t, store);
  watch.close();
  watch.close();
  store.create('home', grants);
  t.mock.timers.tick(10_000);
  assert.deepEqual(names(watch), []);
});

test('a token that one process revokes is gone for a relay in another within a second', async (t) => {
  const stateDir = temporaryFolder(t);
  const store = TokenStore.open(stateDir);
  const { record } = store.create('home', grants);
  const relay = startNode(
    t,
    `const { TokenStore } = await load('relay-server/sessions/token-store.js');
     const [id, stateDir] = process.argv.slice(-2);
     const watch = TokenStore.open(stateDir).watch({ onChange: tell });
     function tell() { console.log(watch.get(id) ? 'known' : 'unknown'); }
     tell();`,
    [record.id, stateDir],
  );
  assert.equal(await relay.line(), 'known');
  const startMs = performance.now();
  store.revoke('home');
  assert.equal(await relay.line(), 'unknown');
  // A second, and what a busy machine takes to start and to tell.
  assert.ok(performance.now() - startMs < 3_000);
});

test('of several processes that create the same name exactly one wins', async (t) => {
  const stateDir = temporaryFolder(t);
  const code = `
    const { TokenStore } = await load('relay-server/sessions/token-store.js');
    const store = TokenStore.open(process.argv.at(-1));
    console.log('ready');
    process.stdin.once('data', () => {
      for (let n = 0; n < 30; n += 1) {
        try { console.log(n + ' ' + store.create('t' + n, { hosts: [], tcpPorts: ['1'] }).record.id); }
        catch (error) { if (error.code !== 'USAGE_INVALID') throw error; }
      }
      process.exit();
    });`;
  const rivals = Array.from({ length: 3 }, () => startNode(t, code, [stateDir]));
  for (const rival of rivals) assert.equal(await rival.line(), 'ready');
  for (const { child } of rivals) child.stdin?.write('go\n');
  const wins: string[] = [];
  for (const rival of rivals) {
    for (;;) {
      const line = await rival.line().catch(() => undefined);
      if (line === undefined) break;
      wins.push(line);
    }
    assert.equal(await rival.ended(), 0, rival.errors());
  }
  const kept = TokenStore.open(stateDir)
    .list()
    .map(({ name, id }) => `${name.slice(1)} ${id}`);
  assert.equal(kept.length, 30);
  assert.deepEqual(wins.sort(), [...kept].sort());
});

test('verbs killed at any moment leave a store that opens', async (t) => {
  const stateDir = temporaryFolder(t);
  TokenStore.open(stateDir).create('kept', grants);
  const code = `
    const { TokenStore } = await load('relay-server/sessions/token-store.js');
    const store = TokenStore.open(process.argv.at(-1));
    const grants = { hosts: ['a.example.com'], tcpPorts: [] };
    for (let n = 0; ; n += 1) {
      try { store.create('passing', grants); } catch {}
      store.rotate('kept');
      store.rotate('passing');
      store.revoke('passing');
      if (n === 0) console.log('working');
    }`;
  for (let round = 0; round < 10; round += 1) {
    const worker = startNode(t, code, [stateDir]);
    await worker.line();
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 10));
    worker.child.kill('SIGKILL');
    assert.equal(await worker.ended(), 'SIGKILL', worker.errors());
    const left = TokenStore.open(stateDir).list();
    assert.deepEqual(
      left.map(({ name }) => name).filter((name) => name !== 'passing'),
      ['kept'],
    );
  }
});

test('any record reads back as it was written', () => {
  const { id, publicKey } = generateToken();
  const time = fc.date({ min: new Date(0), max: new Date(8e15), noInvalidDate: true }).map((date) => date.getTime());
  const record = fc.record({
    name: fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,62}$/),
    createdAtMs: time,
    expiresAtMs: fc.option(time, { nil: undefined }),
  });
  fc.assert(
    fc.property(record, (fields) => {
      const whole: TokenRecord = { ...fields, id, publicKey, grants };
      assert.deepEqual(parseTokenRecord(formatTokenRecord(whole), fields.name), whole);
    }),
  );
});

test('no text makes the record reader do anything but read or refuse', () => {
  const { id, publicKey } = generateToken();
  const good = formatTokenRecord({ name: 'a', id, publicKey, grants, createdAtMs: 0, expiresAtMs: undefined });
  const replaced = fc
    .tuple(fc.constantFrom('version', 'name', 'id', 'publicKey', 'grants', 'createdAt', 'expiresAt'), fc.jsonValue())
    .map(([key, value]) => JSON.stringify({ ...JSON.parse(good), [key]: value }));
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), replaced), (text) => {
      let record: TokenRecord;
      try {
        record = parseTokenRecord(text, 'a');
      } catch (error) {
        assert.ok(error instanceof Error && !(error instanceof TypeError), String(error));
        return;
      }
      assert.deepEqual([record.name, record.id, record.publicKey], ['a', id, publicKey]);
      assert.ok(Number.isFinite(record.createdAtMs));
    }),
    { numRuns: 500 },
  );
});

test('read writes nothing, and says whose the folder is when it is closed to us', (t) => {
  const stateDir = temporaryFolder(t);
  assert.deepEqual([TokenStore.read(stateDir), fs.readdirSync(stateDir)], [[], []]);
  TokenStore.open(stateDir).create('home', grants);
  assert.deepEqual(
    TokenStore.read(stateDir).map(({ name }) => name),
    ['home'],
  );
  if (process.getuid?.() !== 0) return;
  process.seteuid?.(54_321);
  try {
    const message = /Cannot read token folder .*: permission denied\. Be the relay's user, or root\./;
    assert.throws(() => TokenStore.read(stateDir), { code: 'CONFIG_INVALID', message });
  } finally {
    process.seteuid?.(0);
  }
});
