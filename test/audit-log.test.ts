/** The audit log as files: a chain that no edit survives, over torn lines, rotation and several processes. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as path from 'node:path';
import test, { type TestContext } from 'node:test';
import * as fc from 'fast-check';
import { appendAudit } from '../relay-server/ops/audit/audit-append.js';
import {
  type AuditEntry,
  CHAIN_START,
  MAX_LINE_BYTES,
  readRecord,
  seal,
} from '../relay-server/ops/audit/audit-chain.js';
import { AuditLog } from '../relay-server/ops/audit/audit-log.js';
import { auditRecords } from '../relay-server/ops/audit/audit-read.js';
import { verifyAudit } from '../relay-server/ops/audit/audit-verify.js';
import { silentLog } from '../shared/log.js';
import { startNode } from './support/node-process.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';
import { watchedLog } from './support/watched-log.js';
import { until } from './support/within.js';

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const entry = (n: number): AuditEntry => ({ timeMs: n, event: 'login-failed', fields: { client: '192.0.2.1', n } });

function place(t: TestContext, maxFileBytes = 1 << 20, maxFiles = 10) {
  return { folder: path.join(temporaryFolder(t), 'audit'), maxFileBytes, maxFiles };
}

function fileIn(folder: string, number = 1): string {
  return path.join(folder, `audit-${String(number).padStart(8, '0')}.jsonl`);
}

test('records form a chain that verify finds whole, in private files', async (t) => {
  const at = place(t);
  await appendAudit(at, [entry(1), entry(2)]);
  const end = await appendAudit(at, [entry(3)]);
  const verdict = await verifyAudit(at.folder, end);
  assert.deepEqual(verdict, { broken: undefined, records: 3, firstSeq: 1, end, tornBytes: 0, containsExpected: true });
  assert.deepEqual([modeOf(at.folder), modeOf(fileIn(at.folder))], ['700', '600']);
  assert.deepEqual(fs.readdirSync(at.folder), [path.basename(fileIn(at.folder))]);
});

test('whatever is changed, removed, doubled or moved, verify names the first line that does not fit', async (t) => {
  const at = place(t);
  await appendAudit(
    at,
    Array.from({ length: 6 }, (_, n) => entry(n)),
  );
  const file = fileIn(at.folder);
  const lines = fs.readFileSync(file, 'utf8').trimEnd().split('\n');
  const brokenAt = async (changed: string[]) => {
    fs.writeFileSync(file, `${changed.join('\n')}\n`);
    return (await verifyAudit(at.folder)).broken?.line;
  };
  const sealed = seal(entry(99), CHAIN_START).line;
  assert.equal(await brokenAt(lines), undefined);
  assert.equal(await brokenAt(lines.with(2, (lines[2] ?? '').replace('192.0.2.1', '192.0.2.2'))), 3);
  assert.equal(await brokenAt(lines.toSpliced(2, 1)), 3);
  assert.equal(await brokenAt(lines.toSpliced(2, 0, lines[2] ?? '')), 4);
  assert.equal(await brokenAt(lines.with(1, lines[2] ?? '').with(2, lines[1] ?? '')), 2);
  assert.equal(await brokenAt(lines.with(3, sealed)), 4);
  assert.equal(await brokenAt([...lines, 'not a record']), 7);
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 255 }), async (at_, flip) => {
      const bytes = Buffer.from(`${lines.join('\n')}\n`);
      const index = at_ % (bytes.length - 1);
      bytes[index] = (bytes[index] ?? 0) ^ flip;
      fs.writeFileSync(file, bytes);
      assert.ok((await verifyAudit(at.folder)).broken !== undefined, `byte ${index} ^ ${flip}`);
    }),
    { numRuns: 100 },
  );
});

test('a chain that was cut off or written anew is whole by itself, and no longer contains what was seen before', async (t) => {
  const at = place(t);
  const seen = await appendAudit(at, [entry(1), entry(2)]);
  const file = fileIn(at.folder);
  const [first = ''] = fs.readFileSync(file, 'utf8').split('\n');
  fs.writeFileSync(file, `${first}\n`);
  const { broken, containsExpected } = await verifyAudit(at.folder, seen);
  assert.deepEqual([broken, containsExpected], [undefined, false]);
  await appendAudit(at, [entry(3)]);
  assert.equal((await verifyAudit(at.folder, seen)).containsExpected, false);
});

test('a torn last line is no damage, and the next record vouches for it, wherever it was torn', async (t) => {
  const at = place(t);
  const end = await appendAudit(at, [entry(1)]);
  const whole = fs.readFileSync(fileIn(at.folder));
  const next = Buffer.from(seal({ ...entry(2), fields: { text: 'späť 🎣' } }, end).line);
  for (const torn of [next.subarray(0, 1), next.subarray(0, 70), next.subarray(0, -1), Buffer.alloc(100_000)]) {
    fs.writeFileSync(fileIn(at.folder), Buffer.concat([whole, torn]));
    const before = await verifyAudit(at.folder);
    assert.deepEqual([before.broken, before.records, before.tornBytes], [undefined, 1, torn.length]);
    await appendAudit(at, [entry(3)]);
    const after = await verifyAudit(at.folder);
    assert.deepEqual([after.broken, after.records, after.tornBytes], [undefined, 3, 0]);
    const [vouching] = (await auditRecords(at.folder, 2)).map(({ facts }) => facts);
    assert.deepEqual([vouching?.event, vouching?.bytes], ['line-torn', torn.length]);
    const mended = fs.readFileSync(fileIn(at.folder));
    mended[whole.length] = (mended[whole.length] ?? 0) ^ 1;
    fs.writeFileSync(fileIn(at.folder), mended);
    assert.equal((await verifyAudit(at.folder)).broken?.line, 2);
  }
  fs.writeFileSync(fileIn(at.folder), Buffer.concat([whole, next]));
  await appendAudit(at, [entry(3)]);
  const events = (await auditRecords(at.folder, 9)).map(({ facts }) => facts.n ?? facts.text);
  assert.deepEqual([events, (await verifyAudit(at.folder)).broken], [[1, 'späť 🎣', 3], undefined]);
});

test('a file that has grown full gets a successor that goes on with the chain, and the oldest go', async (t) => {
  const at = place(t, 1_000, 3);
  for (let n = 1; n <= 30; n += 1) await appendAudit(at, [entry(n)]);
  const files = fs.readdirSync(at.folder).sort();
  assert.equal(files.length, 3);
  assert.ok(files[0] !== path.basename(fileIn(at.folder)));
  const { broken, records, firstSeq, end } = await verifyAudit(at.folder);
  assert.deepEqual([broken, end.seq, records], [undefined, 30, 31 - firstSeq]);
  assert.ok(firstSeq > 1);
  fs.rmSync(path.join(at.folder, files[1] ?? ''));
  assert.equal((await verifyAudit(at.folder)).broken?.file, path.join(at.folder, files[2] ?? ''));
});

test('a file that was made full by a writer that died before its first record goes on with the chain', async (t) => {
  const at = place(t);
  await appendAudit(at, [entry(1)]);
  fs.writeFileSync(fileIn(at.folder, 2), '');
  await appendAudit(at, [entry(2)]);
  const { broken, records } = await verifyAudit(at.folder);
  assert.deepEqual([broken, records], [undefined, 2]);
});

test('processes that append at the same time share one chain, also after one was killed in the middle', async (t) => {
  const at = place(t, 20_000, 100);
  const code = `
    const { appendAudit } = await load('relay-server/ops/audit/audit-append.js');
    const [place, count] = process.argv.slice(1).map((text) => JSON.parse(text));
    console.log('ready');
    for (let n = 0; n < count; n += 1) {
      await appendAudit(place, [{ timeMs: 0, event: 'token-created', fields: { pid: process.pid, n } }]);
      if (n === 0) console.log('appended');
    }
  `;
  const start = (count: number) => startNode(t, code, [JSON.stringify(at), JSON.stringify(count)]);
  const endless = start(1e9);
  const writers = [start(20), start(20)];
  await endless.line();
  await endless.line();
  endless.child.kill('SIGKILL');
  assert.deepEqual([await endless.ended(), ...(await Promise.all(writers.map((w) => w.ended())))], ['SIGKILL', 0, 0]);
  await appendAudit(at, [entry(1)]);
  const { broken, records, end } = await verifyAudit(at.folder);
  assert.deepEqual([broken, end.seq], [undefined, records]);
  assert.ok(records >= 42);
});

test('a record is one printable line of bounded length, whatever is in its fields', () => {
  const fields = fc.dictionary(fc.string({ unit: 'binary' }), fc.anything({ maxDepth: 4 }), { maxKeys: 40 });
  fc.assert(
    fc.property(fields, (given) => {
      const { line, end } = seal({ timeMs: 1, event: 'claim-denied', fields: given }, CHAIN_START);
      assert.doesNotMatch(line, UNPRINTABLE);
      assert.ok(Buffer.byteLength(line) <= MAX_LINE_BYTES);
      const record = readRecord(Buffer.from(line));
      assert.deepEqual([record?.seq, record?.prev, record?.hash], [1, CHAIN_START.hash, end.hash]);
      assert.equal(record?.facts.event, 'claim-denied');
    }),
  );
  const long = seal({ timeMs: 1, event: 'e', fields: { list: Array(32).fill('ž'.repeat(600)) } }, CHAIN_START);
  assert.equal(readRecord(Buffer.from(long.line))?.facts.fields, '[too long]');
});

const config = (folder: string) => ({ enabled: true, folder, maxFileBytes: 1 << 20, maxFiles: 2, toLog: false });

test('while the disk refuses, records wait, the log says so once, and what had to go is counted in a record', async (t) => {
  const written: AuditEntry[] = [];
  let refuses = true;
  const append = async (_place: unknown, entries: readonly AuditEntry[]) => {
    if (refuses) throw new Error('ENOSPC');
    written.push(...entries);
  };
  const { log, lines } = watchedLog();
  const audit = new AuditLog({ ...config(temporaryFolder(t)), log, append, maxWaiting: 2 });
  for (const n of [1, 2, 3, 4]) audit.record('config-refused', { n });
  await until('refusal', async () => audit.problem);
  assert.deepEqual([audit.lost, written.length], [2, 0]);
  refuses = false;
  await audit.close();
  assert.deepEqual(
    written.map(({ event, fields }) => [event, fields.n ?? fields.records]),
    [
      ['config-refused', 1],
      ['config-refused', 2],
      ['records-lost', 2],
    ],
  );
  assert.equal(lines.filter((line) => line.includes('audit log cannot be written')).length, 1);
});

test('a disk that never answers holds up no end, and the log says what was lost', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { log, lines } = watchedLog();
  const audit = new AuditLog({ ...config(temporaryFolder(t)), log, append: () => new Promise(() => {}) });
  audit.record('config-refused', {});
  const closed = audit.close();
  t.mock.timers.tick(3_000);
  await closed;
  assert.match(lines.join(), /"records":1.*audit records lost/);
});

test('what others can cause without end is recorded up to a rate, and the rest is counted', async (t) => {
  const written: AuditEntry[] = [];
  const append = async (_place: unknown, entries: readonly AuditEntry[]) => void written.push(...entries);
  const audit = new AuditLog({ ...config(temporaryFolder(t)), log: silentLog, append });
  let nowMs = 0;
  t.mock.method(performance, 'now', () => nowMs);
  for (let n = 0; n < 100; n += 1) audit.record('login-failed', { client: `192.0.2.${n}` });
  nowMs = 60_000;
  audit.record('login-failed', { client: '192.0.2.200' });
  for (const code of ['NOT_GRANTED', 'NOT_GRANTED', 'PORT_TAKEN']) audit.record('claim-denied', { code });
  await audit.close();
  const logins = written.filter(({ event }) => event === 'login-failed');
  assert.deepEqual([logins.length, logins.at(-1)?.fields.leftOut], [61, 40]);
  assert.equal(written.length - logins.length, 2);
});
