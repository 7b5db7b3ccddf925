/** What the bench reads of its tools' output and of /proc. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseCurl } from '../bench/load/curl.js';
import { parseH2load, parseH2loadLog } from '../bench/load/h2load.js';
import { parseWrk } from '../bench/load/wrk.js';
import { parseResident } from '../bench/memory.js';
import { parseHardLimit } from '../bench/open-files.js';
import { parseStat } from '../bench/process-tree.js';

const H2LOAD = `starting benchmark...
Application protocol: h2
progress: 100% done

finished in 1.50s, 8000.00 req/s, 555.20KB/s
requests: 8097 total, 8120 started, 8097 done, 8000 succeeded, 97 failed, 97 errored, 0 timeout
status codes: 8000 2xx, 0 3xx, 0 4xx, 0 5xx
`;

test('wrk: requests and seconds of the line that our script prints', () => {
  const output = 'Running 1s test\n{"requests":4132,"micros":1003000,"errors":0}\n';
  assert.deepEqual(parseWrk(output), { requests: 4_132, seconds: 1.003 });
});

test('wrk: a run with an error, without requests or without the line is no measurement', () => {
  assert.throws(() => parseWrk('{"requests":10,"micros":1,"errors":1}'), /10 requests, 1 errors/);
  assert.throws(() => parseWrk('{"requests":0,"micros":1,"errors":0}'), /0 requests/);
  assert.throws(() => parseWrk('unable to connect'), /unable to connect/);
});

test('h2load: what succeeded, in how long, over which protocol', () => {
  assert.deepEqual(parseH2load(H2LOAD), { protocol: 'h2', requests: 8_000, failures: 97, seconds: 1.5 });
  assert.equal(parseH2load(H2LOAD.replace('1.50s', '42.5ms')).seconds, 0.0425);
  assert.equal(parseH2load(H2LOAD.replace('1.50s', '900us')).seconds.toFixed(6), '0.000900');
});

test('h2load: answers that are no 2xx, and no summary, are no measurement', () => {
  assert.throws(() => parseH2load(H2LOAD.replace('8000 2xx, 0 3xx, 0 4xx', '7999 2xx, 0 3xx, 1 4xx')), /Cannot use/);
  assert.throws(() => parseH2load('Could not connect'), /Could not connect/);
});

test('h2load: the milliseconds of each request, without those that the end cut off', () => {
  assert.deepEqual(
    parseH2loadLog('1795209561933344\t200\t130\n1795209561943578\t200\t93\n17952\t-1\t5\n'),
    [0.13, 0.093],
  );
  assert.throws(() => parseH2loadLog('1\t200\t130\n2\t502\t93\n'), /status 502/);
  assert.throws(() => parseH2loadLog(''), /0 answers/);
});

test('curl: status, bytes and seconds; anything else is no transfer', () => {
  const transfer = { status: 200, downloadedBytes: 1_048_576, uploadedBytes: 0, seconds: 0.25 };
  assert.deepEqual(parseCurl('200 1048576 0 0.250000'), transfer);
  assert.throws(() => parseCurl(''), /curl said ""/);
  assert.throws(() => parseCurl('200 5'), /curl said/);
});

test('no output whatever makes a parser return something that is no number', () => {
  const parsers = [
    (text: string) => Object.values(parseWrk(text)),
    (text: string) => [parseH2load(text).requests, parseH2load(text).seconds],
    parseH2loadLog,
    (text: string) => Object.values(parseCurl(text)),
  ];
  const broken = fc.oneof(
    fc.string(),
    fc.nat(H2LOAD.length).map((end) => H2LOAD.slice(0, end)),
    fc.array(fc.integer()).map((numbers) => numbers.join(' ')),
    fc.array(fc.integer()).map((numbers) => numbers.join('\t')),
  );
  fc.assert(
    fc.property(broken, fc.constantFrom(...parsers), (text, parse) => {
      let values: number[] = [];
      try {
        values = parse(text);
      } catch (error) {
        assert.ok(error instanceof Error);
      }
      assert.ok(
        values.every((value) => Number.isFinite(value)),
        text,
      );
    }),
  );
});

test('/proc: a command may be called anything, and still its times are found', () => {
  const fields = '4 (a) R 1 (b) S 77 4 4 0 -1 4194304 100 0 0 0 150 50 25 25 20 0 1 0 100';
  assert.deepEqual(parseStat(fields), { pid: 4, parent: 77, cpuSeconds: 2.5 });
});

test('/proc: resident memory in bytes, and the hard limit of open files', () => {
  assert.equal(parseResident('Name:\tnode\nVmRSS:\t   60000 kB\nThreads:\t7\n'), 61_440_000);
  assert.equal(parseResident('Name:\tkthreadd\n'), 0);
  const limits =
    'Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 ';
  assert.equal(parseHardLimit(`${limits}20000                files\n`), 20_000);
  assert.equal(parseHardLimit(`${limits}unlimited            files\n`), Number.POSITIVE_INFINITY);
});
