/** How metrics become text, and what the counters behind them add up to. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { Deadlines, TICK_MS } from '../shared/deadlines.js';
import type { ExchangeRecord } from '../shared/http/http-site.js';
import { ExchangeMetrics, exposeExchanges } from '../shared/metrics/exchange-metrics.js';
import { Exposition } from '../shared/metrics/exposition.js';
import { BUCKETS_MS, Histogram } from '../shared/metrics/histogram.js';
import { ProcessMetrics } from '../shared/metrics/process-metrics.js';

const RECORD: ExchangeRecord = {
  request: undefined,
  requestId: 'id',
  route: undefined,
  status: 200,
  code: undefined,
  ms: 40,
  firstByteMs: 30,
  bytesIn: 0,
  bytesOut: 0,
};

test('a family has its help and type before its samples, and a label cannot end its line', () => {
  const to = new Exposition();
  to.counter('a_total', 'Help', [[1], [2, { tunnel: 'a\\b"c\nd' }]]);
  assert.equal(to.text, '# HELP a_total Help\n# TYPE a_total counter\na_total 1\na_total{tunnel="a\\\\b\\"c\\nd"} 2\n');
});

test('a histogram counts each observation once, in the first bucket whose end it does not pass', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 120_000, noNaN: true }), { maxLength: 50 }), (durations) => {
      const histogram = new Histogram();
      for (const ms of durations) histogram.observe(ms);
      const expected = BUCKETS_MS.map((end) => durations.filter((ms) => ms <= end).length);
      assert.deepEqual(histogram.cumulative(), [...expected, durations.length]);
      assert.ok(Math.abs(histogram.sumMs - durations.reduce((sum, ms) => sum + ms, 0)) < 1e-6 * 120_000);
    }),
  );
});

test('requests are counted by status, failures by code; an upgraded connection is no slow request', () => {
  const metrics = new ExchangeMetrics();
  metrics.note(RECORD);
  metrics.note({ ...RECORD, status: 101, ms: 3_600_000 });
  metrics.note({ ...RECORD, status: 0, code: 'STREAM_RESET', firstByteMs: undefined });
  const to = new Exposition();
  exposeExchanges(to, 'x', [[{ tunnel: 't' }, metrics]]);
  const lines = to.text.split('\n');
  for (const line of [
    'x_requests_total{tunnel="t",status="200"} 1',
    'x_requests_total{tunnel="t",status="101"} 1',
    'x_requests_total{tunnel="t",status="none"} 1',
    'x_request_failures_total{tunnel="t",code="STREAM_RESET"} 1',
    'x_request_duration_seconds_bucket{tunnel="t",le="0.025"} 0',
    'x_request_duration_seconds_bucket{tunnel="t",le="0.05"} 2',
    'x_request_duration_seconds_bucket{tunnel="t",le="+Inf"} 2',
    'x_request_duration_seconds_sum{tunnel="t"} 0.08',
    'x_first_byte_seconds_count{tunnel="t"} 2',
  ]) {
    assert.ok(lines.includes(line), line);
  }
});

test('an origin that makes up statuses gets no series for each of them', () => {
  const metrics = new ExchangeMetrics();
  for (let status = 200; status < 1_000; status += 1) metrics.note({ ...RECORD, status });
  const statuses = [...metrics.statuses()];
  assert.equal(statuses.length, 33);
  assert.deepEqual(statuses.at(-1), ['other', 768]);
});

test('a clock that ticks late is an event loop that was busy', (t) => {
  const deadlines = new Deadlines();
  t.after(() => deadlines.close());
  const metrics = new ProcessMetrics(deadlines);
  const nowMs = performance.now();
  metrics.onTick(nowMs + TICK_MS);
  metrics.onTick(nowMs + 2 * TICK_MS + 90);
  const to = new Exposition();
  metrics.expose(to);
  assert.match(to.text, /^sallyport_event_loop_delay_seconds_bucket\{le="0.05"\} 1$/m);
  assert.match(to.text, /^sallyport_event_loop_delay_seconds_bucket\{le="0.1"\} 2$/m);
  assert.match(to.text, /^process_resident_memory_bytes \d+$/m);
});
