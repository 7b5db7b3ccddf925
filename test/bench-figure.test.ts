/** The bench's own arithmetic: rounds, ratios, targets, and what the report makes of them. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { cpuSeconds } from '../bench/cpu-time.js';
import type { Cast, Contestant, Figure } from '../bench/figure.js';
import { interleave } from '../bench/interleave.js';
import { configsToMarkdown, type Report, toJson, toMarkdown } from '../bench/report.js';
import type { FigureResult } from '../bench/result.js';
import { percentile, spreadOf } from '../bench/spread.js';
import { cpuPer } from '../bench/subjects/subject.js';
import { judge, type Target } from '../bench/target.js';

const RATE = { name: 'rate', title: 'requests/s', digits: 0, beside: 'ratio' } as const;
const DELAY = { name: 'delay', title: 'ms', digits: 1, beside: 'difference' } as const;

function figureWith(targets: readonly Target[]): Figure {
  const enter = () => Promise.reject(new Error('not used'));
  return { name: 'small', title: 'Small', measures: [RATE, DELAY], partsOf: 'rate', targets, enter };
}

/** One whose values are given, round by round; undefined fails. */
function scripted(name: string, rates: readonly (number | undefined)[], log: string[] = []): Contestant {
  const left = [...rates];
  return {
    ...{ name, what: `${name} runs` },
    warmUp: async () => log.push(`warm ${name}`),
    measure: async () => {
      log.push(name);
      const rate = left.shift();
      if (rate === undefined) throw new Error('it broke\nwith details');
      return { values: { rate, delay: rate / 10 }, parts: { relay: 1, client: 2 } };
    },
  };
}

function take(cast: Cast, rounds: number, targets: readonly Target[] = []): Promise<FigureResult> {
  return interleave(figureWith(targets), cast, {
    ...{ rounds, signal: new AbortController().signal, progress: () => {} },
  });
}

function reportOf(result: FigureResult): Report {
  const configs = new Map([['frps.toml', 'bindPort = 1\n']]);
  const size = { quick: true, rounds: 3 };
  return {
    machine: { date: '2026-01-02', node: 'v20' },
    size,
    guard: undefined,
    configs,
    figures: [result],
    failed: [],
  };
}

test('rounds take everybody in turn, and ratios and differences are taken within a round', {
  skip: noProc(),
}, async () => {
  const log: string[] = [];
  const contestants = [scripted('limit', [100, 10, 1_000], log), scripted('sallyport', [80, 9, 700], log)];
  const { contestants: results } = await take({ contestants, absent: [] }, 3);
  assert.deepEqual(log, ['warm limit', 'warm sallyport', ...Array(3).fill(['limit', 'sallyport']).flat()]);
  assert.deepEqual(results[1]?.values.rate, { median: 80, min: 9, max: 700 });
  assert.deepEqual(results[1]?.beside.rate, { median: 0.8, min: 0.7, max: 0.9 });
  assert.deepEqual(results[0]?.beside.rate, { median: 1, min: 1, max: 1 });
  assert.deepEqual(results[1]?.beside.delay, { median: -2, min: -30, max: 0.9 - 1 });
});

test('who fails is out with the reason, and the others go on', { skip: noProc() }, async () => {
  const contestants = [
    scripted('limit', [100, 100]),
    scripted('peer', [50, undefined]),
    scripted('sallyport', [80, 80]),
  ];
  const result = await take({ contestants, absent: [{ name: 'frp', reason: 'not found' }] }, 2);
  assert.deepEqual(
    result.contestants.map(({ name, rounds }) => [name, rounds.length]),
    [
      ['limit', 2],
      ['sallyport', 2],
    ],
  );
  assert.deepEqual(result.absent, [
    { name: 'frp', reason: 'not found' },
    { name: 'peer', reason: 'failed: it broke' },
  ]);
});

test('without its reference nobody has ratios', { skip: noProc() }, async () => {
  const contestants = [scripted('limit', [undefined]), scripted('sallyport', [80])];
  const result = await take({ contestants, absent: [] }, 1);
  assert.equal(result.reference, 'limit');
  assert.deepEqual(result.contestants[0]?.beside, {});
});

test('a failure after the run was stopped ends it', async () => {
  const signal = AbortSignal.abort();
  const cast = { contestants: [scripted('limit', [undefined])], absent: [] };
  await assert.rejects(interleave(figureWith([]), cast, { rounds: 1, signal, progress: () => {} }), /it broke/);
});

test('targets compare with a number, a multiple or a difference, and say when somebody is missing', async () => {
  const targets: Target[] = [
    { measure: 'rate', is: 'at least', value: 80 },
    { measure: 'rate', is: 'at least', value: 0.81, of: 'limit' },
    { measure: 'delay', is: 'at most', value: -2, over: 'limit' },
    { measure: 'rate', is: 'at least', value: 2, of: 'frp' },
    { measure: 'rate', is: 'at most', value: 99, subject: 'limit' },
  ];
  const contestants = [scripted('limit', [100]), scripted('sallyport', [80])];
  const verdicts = judge(await take({ contestants, absent: [] }, 1, targets));
  assert.deepEqual(
    verdicts.map(({ target, measured, verdict }) => [target, measured, verdict]),
    [
      ['requests/s at least 80', 80, 'reached'],
      ['requests/s at least 0.81 × limit', 0.8, 'missed'],
      ['ms at most -2 over limit', -2, 'reached'],
      ['requests/s at least 2 × frp', undefined, 'not measured'],
      ['requests/s with limit at most 99', 100, 'missed'],
    ],
  );
});

test('the median of an even number of rounds lies between the middle two', () => {
  assert.deepEqual(spreadOf([4, 1, 3, 100]), { median: 3.5, min: 1, max: 100 });
  assert.deepEqual(spreadOf([7]), { median: 7, min: 7, max: 7 });
});

test('a percentile is the nearest rank', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentile(hundred, 0.99), 99);
  assert.equal(percentile(hundred, 0.5), 50);
  assert.equal(percentile([3], 0.99), 3);
  assert.ok(Number.isNaN(percentile([], 0.5)));
});

test('CPU time per unit counts what was used in between, by part', () => {
  assert.deepEqual(cpuPer({ relay: 1, total: 1 }, { relay: 3, total: 4 }, 2), { relay: 1, total: 1.5 });
});

test('CPU time includes children, and those that have ended', { skip: noProc() }, async () => {
  const before = cpuSeconds(process.pid);
  const child = spawn(process.execPath, ['-e', 'const until = Date.now() + 300; while (Date.now() < until);']);
  await once(child, 'exit');
  assert.ok(cpuSeconds(process.pid) - before >= 0.1);
});

test('the report shows medians with their spread, verdicts, and who is missing', { skip: noProc() }, async () => {
  const contestants = [scripted('limit', [100, 200, 300]), scripted('sallyport', [80, 100, 240])];
  const absent = [{ name: 'nginx+frp', reason: 'frps not found' }];
  const targets: Target[] = [{ measure: 'rate', is: 'at least', value: 0.8, of: 'limit' }];
  const markdown = toMarkdown(reportOf(await take({ contestants, absent }, 3, targets)));
  for (const line of [
    '| small | requests/s at least 0.8 × limit | 0.80 | reached |',
    '| sallyport: sallyport runs | **100** (80–240) | **0.80** (0.50–0.80) |',
    '| relay 1, client 2 |',
    '- nginx+frp is missing: frps not found',
    'Medians of 3 interleaved rounds of a quick run',
    '- node: v20',
  ]) {
    assert.ok(markdown.includes(line), `${line}\n${markdown}`);
  }
});

test('a figure that could not be taken is in the report, with its targets', () => {
  const figure = figureWith([{ measure: 'rate', is: 'at least', value: 1 }]);
  const result = { figure, reference: '', contestants: [], absent: [] };
  const report: Report = { ...reportOf(result), figures: [], failed: [{ figure, reason: 'no room' }] };
  assert.match(toMarkdown(report), /\| small \| requests\/s at least 1 \| {2}\| not measured \|/);
  assert.match(toMarkdown(report), /### Small\n\nNot measured: no room/);
});

test('JSON has every round, every verdict and every configuration', { skip: noProc() }, async () => {
  const contestants = [scripted('limit', [100, 200]), scripted('sallyport', [80, 100])];
  const targets: Target[] = [{ measure: 'rate', is: 'at least', value: 0.8, of: 'limit' }];
  const json = JSON.parse(toJson(reportOf(await take({ contestants, absent: [] }, 2, targets))));
  const rounds: { values: { rate: number } }[] = json.figures[0].contestants[1].rounds;
  assert.deepEqual(
    rounds.map(({ values }) => values.rate),
    [80, 100],
  );
  assert.equal(json.verdicts[0].verdict, 'missed');
  assert.deepEqual(json.configs, { 'frps.toml': 'bindPort = 1\n' });
  assert.match(configsToMarkdown(new Map(Object.entries(json.configs))), /### frps\.toml\n\n```\nbindPort = 1\n```/);
});

function noProc(): string | false {
  return process.platform === 'linux' ? false : 'skipped: reads /proc';
}
