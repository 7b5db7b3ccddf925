import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { cpuSeconds } from '../bench/cpu-time.js';
import { type Figure, measureFigure, spreadOf } from '../bench/figure.js';
import { toJson, toMarkdown } from '../bench/report.js';
import { cpuPer, type Subject } from '../bench/subjects/subject.js';
import type { BenchWorld } from '../bench/world.js';

const SUBJECTS: readonly Subject[] = [
  { name: 'limit', what: 'fast', port: 1, parts: [] },
  { name: 'sallyport', what: 'ours', port: 2, parts: [] },
];

/** A figure whose measurements are given, by subject. */
function scripted(rates: Readonly<Record<string, number[]>>, log: string[]): Figure {
  return {
    ...{ name: 'small', title: 'Small', rateUnit: 'requests/s', rateDigits: 0, cpuUnit: 'µs', cpuDigits: 1 },
    warmUp: async (_world, { name }) => log.push(`warm ${name}`),
    measure: async (_world, { name }) => {
      log.push(name);
      const rate = rates[name]?.shift() ?? 0;
      return { rate, cpu: { relay: 1, client: 2, total: 3 } };
    },
  };
}

test('rounds take all subjects in turn, and ratios are taken within a round', { skip: noProc() }, async () => {
  const log: string[] = [];
  const figure = scripted({ limit: [100, 10, 1_000], sallyport: [80, 9, 700] }, log);
  const { subjects } = await measureFigure({} as BenchWorld, figure, SUBJECTS, 3, () => {});
  assert.deepEqual(log, ['warm limit', 'warm sallyport', ...Array(3).fill(['limit', 'sallyport']).flat()]);
  assert.deepEqual(subjects[1]?.rate, { median: 80, min: 9, max: 700 });
  assert.deepEqual(subjects[1]?.rateRatio, { median: 0.8, min: 0.7, max: 0.9 });
  assert.deepEqual(subjects[0]?.rateRatio, { median: 1, min: 1, max: 1 });
});

test('the median of an even number of rounds lies between the middle two', () => {
  assert.deepEqual(spreadOf([4, 1, 3, 100]), { median: 3.5, min: 1, max: 100 });
  assert.deepEqual(spreadOf([7]), { median: 7, min: 7, max: 7 });
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

test('the report shows medians with their spread, and JSON has every round', { skip: noProc() }, async () => {
  const figure = scripted({ limit: [100, 200, 300], sallyport: [80, 100, 240] }, []);
  const result = await measureFigure({} as BenchWorld, figure, SUBJECTS, 3, () => {});
  const report = { machine: { node: 'v20' }, rounds: 3, figures: [result] };
  const row = '| sallyport: ours | **100** (80–240) | **0.80** (0.50–0.80) | **3.0** (3.0–3.0) |';
  assert.ok(toMarkdown(report).includes(row), toMarkdown(report));
  assert.match(toMarkdown(report), /relay 1\.0, client 2\.0/);
  const rates = JSON.parse(toJson(report)).figures[0].subjects[1].rounds.map(({ rate }: { rate: number }) => rate);
  assert.deepEqual(rates, [80, 100, 240]);
});

function noProc(): string | false {
  return process.platform === 'linux' ? false : 'skipped: reads /proc';
}
