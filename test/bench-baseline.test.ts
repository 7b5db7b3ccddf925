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
  ratiosOf,
  readBaseline,
  regressions,
  writeBaseline,
} from '../bench/baseline.js';
import { chooseFigures } from '../bench/figures/figures.js';
import type { FigureResult } from '../bench/result.js';
import { ROOT } from './support/source-files.js';
import { temporaryFolder } from './support/temporary-folder.js';

const BASELINE: Baseline = {
  ...{ date: '2026-01-02 03:04', machine: '2 × CPU', node: 'v20' },
  ratios: { small: { cpu: 2, rate: 0.6 }, download: { cpu: 4, rate: 0.5 } },
};

/** A figure whose contestants have these medians beside the reference. */
function result(name: string, reference: string, cpu: number, rate: number): FigureResult {
  const enter = () => Promise.reject(new Error('not used'));
  const spread = (median: number) => ({ median, min: median, max: median });
  const beside = { cpu: spread(cpu), rate: spread(rate) };
  const contestant = { what: '', values: {}, parts: {}, rounds: [] };
  return {
    figure: { name, title: name, measures: [], targets: [], enter },
    reference,
    contestants: [
      { ...contestant, name: 'limit', beside: {} },
      { ...contestant, name: 'sallyport', beside },
    ],
    absent: [],
  };
}

test('only more CPU time beside the limit, by more than 15 %, is a regression', () => {
  const held = compare(BASELINE, { small: { cpu: 2.29, rate: 0.1 }, download: { cpu: 3, rate: 0.9 } });
  assert.deepEqual(regressions(held), []);
  const lost = compare(BASELINE, { small: { cpu: 2.31, rate: 0.6 }, download: { cpu: 4, rate: 0.5 } });
  assert.deepEqual(regressions(lost), ['small: 16 % more CPU time than on 2026-01-02 03:04 (2.00 → 2.31 × limit)']);
});

test('a lower rate is shown as a loss and decides nothing', () => {
  const { comparisons } = compare(BASELINE, { small: { cpu: 2, rate: 0.3 } });
  const rate = comparisons.find(({ measure }) => measure === 'rate');
  assert.deepEqual([rate?.loss, rate?.verdict], [0.5, 'information']);
});

test('figures that only one of both has are not compared', () => {
  const { comparisons } = compare(BASELINE, { upload: { cpu: 9, rate: 0.1 } });
  assert.deepEqual(comparisons, []);
});

test('the ratios of a run are those to the limit, where it was the reference', () => {
  const figures = [result('small', 'limit', 1.9, 0.6), result('download', 'nginx+frp', 4, 1)];
  assert.deepEqual(ratiosOf(figures), { small: { cpu: 1.9, rate: 0.6 } });
});

test('a baseline is read back as it was written', (t) => {
  const file = join(temporaryFolder(t), 'baseline.json');
  assert.equal(readBaseline(file), undefined);
  const baseline = baselineOf(
    { date: '2026', machine: 'one', node: 'v22', nginx: '1' },
    { small: { cpu: 1.23456, rate: 0.5 } },
  );
  writeBaseline(file, baseline);
  assert.deepEqual(readBaseline(file), {
    ...{ date: '2026', machine: 'one', node: 'v22' },
    ratios: { small: { cpu: 1.235, rate: 0.5 } },
  });
});

test('a damaged baseline is refused with the cure', () => {
  const { ratios, ...facts } = BASELINE;
  for (const text of ['', '{}', '[]', JSON.stringify({ ...facts, ratios: { small: { cpu: 'x', rate: 1 } } })]) {
    assert.throws(() => parseBaseline(text, 'b.json'), /Cannot use baseline b\.json: .*--update-baseline/, text);
  }
  assert.throws(() => parseBaseline(JSON.stringify({ ratios }), 'b.json'), /damaged/);
});

test('the committed baseline has every figure of a quick run', () => {
  const file = join(ROOT, 'bench', 'baseline.json');
  const { ratios } = parseBaseline(readFileSync(file, 'utf8'), file);
  assert.deepEqual(
    Object.keys(ratios),
    chooseFigures(undefined, true).map(({ name }) => name),
  );
});
