/** When a client makes a denied claim again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { claimRetryMs } from '../tunnel-client/session/claim-retry.js';

const least = () => 0;
const most = () => 1;

test('a claim is not repeated before the relay says that it can help', () => {
  const denied = { code: 'CERTIFICATE_FAILED', retryInMs: 54_000 } as const;
  assert.deepEqual([claimRetryMs(denied, 1, least), claimRetryMs(denied, 1, most)], [54_000, 56_500]);
});

test('a relay that tells of hours is asked every five minutes', () => {
  assert.equal(claimRetryMs({ code: 'CERTIFICATE_FAILED', retryInMs: 86_400_000 }, 1, least), 300_000);
});

test('without a word of the relay a certificate is asked for ever more seldom, a taken name as often as before', () => {
  const waits = (code: 'CERTIFICATE_FAILED' | 'HOSTNAME_TAKEN') =>
    [1, 2, 9].map((denials) => claimRetryMs({ code }, denials, () => 0.5));
  assert.deepEqual(waits('CERTIFICATE_FAILED'), [5_000, 10_000, 60_000]);
  assert.deepEqual(waits('HOSTNAME_TAKEN'), [5_000, 5_000, 5_000]);
});
