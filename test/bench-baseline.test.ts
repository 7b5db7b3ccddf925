/** The regression guard: what counts as a loss, and what the baseline's file may hold. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  type Baseline,
  baselineOf,
  compare,
  parseBaseline,
  readBaseline,
  regressions,
  type WatchedFigure,
  watchedOf,
  writeBaseline,
} from '../bench/baseline.js';
import { chooseFigures } from '../bench/figures/figures.js';
import type { FigureResult } from '../bench/result.js';
import { ROOT } from './support/source-files.js';
import { temporaryFolder } from './support/temporary-folder.js';

const SMALL = { cpuOfNode: 2, cpuOfLimit: 1.5, rateOfLimit: 0.6 };
const DOWNLOAD = { cpuOfNode: 3, cpuOfLimit: 4, rateOfLimit: 0.5 };
const BASELINE: Baseline = {
  ...{ date: '2026-01-02 03:04', machine: '2 × CPU', node: 'v20' },
  figures: { small: SMALL, download: DOWNLOAD },
};

function watched(ratios: Partial<typeof SMALL>, others = 0): WatchedFigure {
  return { ratios: { ...SMALL, ...ratios }, others };
}

/** A figure of two rounds in which everybody but Sallyport has 1 of everything. */
function result(name: string, subjects: readonly string[], cpu: readonly number[]): FigureResult {
  const enter = () => Promise.reject(new Error('not used'));
  const contestants = subjects.map((subject) => {
    const rounds = cpu.map((value, round) => {
      const values = subject === 'sallyport' ? { cpu: value, rate: 0.5 } : { cpu: 1, rate: 1 };
      return { values, round, others: 0.2 };
    });
    return { name: subject, what: '', values: {}, beside: {}, parts: {}, rounds };
  });
  const figure = { name, title: name, measures: [], targets: [], enter };
  return { figure, reference: 'limit', contestants, absent: [] };
}

test('more CPU time beside Node, by more than 15 %, is a regression', () => {
  const held = compare(BASELINE, new Map([['small', watched({ cpuOfNode: 2.29 })]]));
  assert.deepEqual(regressions(held), []);
  const lost = compare(BASELINE, new Map([['small', watched({ cpuOfNode: 2.31 })]]));
  assert.deepEqual(regressions(lost), [
    'small: 16 % more CPU time than on 2026-01-02 03:04 (2.00 → 2.31 × Node itself)',
  ]);
});

test('on a busy machine as much more is tolerated as others used of it, beyond a tenth', () => {
  const now = (others: number) => new Map([['small', watched({ cpuOfNode: 2.8 }, others)]]);
  assert.equal(regressions(compare(BASELINE, now(0.1))).length, 1);
  assert.equal(regressions(compare(BASELINE, now(0.3))).length, 1);
  assert.equal(regressions(compare(BASELINE, now(0.4))).length, 0);
});

test('everything else is shown as a loss and decides nothing', () => {
  const now = new Map([['small', watched({ cpuOfLimit: 9, rateOfLimit: 0.3 })]]);
  const guard = compare(BASELINE, now);
  assert.deepEqual(
    guard.comparisons.map(({ name, loss, tolerated }) => [name, loss, tolerated]),
    [
      ['cpuOfNode', 0, 0.15],
      ['cpuOfLimit', 5, undefined],
      ['rateOfLimit', 0.5, undefined],
    ],
  );
  assert.deepEqual(regressions(guard), []);
});

test('figures that only one of both has are not compared', () => {
  assert.deepEqual(compare(BASELINE, new Map([['upload', watched({})]])).comparisons, []);
});

test('what is watched are medians within rounds; a figure without everybody is left out', () => {
  const whole = result('small', ['limit', 'sallyport', 'node'], [1, 3, 2]);
  const found = watchedOf([whole, result('download', ['limit', 'sallyport'], [4])]);
  assert.deepEqual([...found], [['small', { ratios: { cpuOfNode: 2, cpuOfLimit: 2, rateOfLimit: 0.5 }, others: 0.2 }]]);
});

test('a baseline is read back as it was written', (t) => {
  const file = join(temporaryFolder(t), 'baseline.json');
  assert.equal(readBaseline(file), undefined);
  const facts = { date: '2026', machine: 'one', node: 'v22' };
  writeBaseline(file, baselineOf({ ...facts, nginx: '1' }, new Map([['small', watched({ cpuOfNode: 1.23456 })]])));
  assert.deepEqual(readBaseline(file), { ...facts, figures: { small: { ...SMALL, cpuOfNode: 1.235 } } });
});

test('a damaged baseline is refused with the cure', () => {
  const { figures, ...facts } = BASELINE;
  const half = JSON.stringify({ ...facts, figures: { small: { cpuOfNode: 1 } } });
  for (const text of ['', '{}', '[]', 'null', half]) {
    assert.throws(() => parseBaseline(text, 'b.json'), /Cannot use baseline b\.json: .*--update-baseline/, text);
  }
  assert.throws(() => parseBaseline(JSON.stringify({ figures }), 'b.json'), /damaged/);
});

test('the committed baseline has every figure of a quick run', () => {
  const file = join(ROOT, 'bench', 'baseline.json');
  const { figures } = parseBaseline(readFileSync(file, 'utf8'), file);
  assert.deepEqual(
    Object.keys(figures),
    chooseFigures(undefined, true).map(({ name }) => name),
  );
});
