/** What `relay cert list` says of certificates that are there, awaited, or failed. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { certificateEntry, formatCertificates } from '../relay-server/ops/certificate-report.js';

const NOW_MS = Date.parse('2027-01-01T12:00:00Z');
const failed = { name: 'a.test', lastError: 'Cannot get it. Do this.', retryAtMs: NOW_MS + 54_000 } as const;

test('while it is tried again the old failure is not told', () => {
  for (const state of ['issuing', 'renewing'] as const) {
    const entry = certificateEntry({ ...failed, state });
    assert.deepEqual([entry.lastError, entry.retryAt], [null, null]);
  }
  assert.match(
    formatCertificates([certificateEntry({ ...failed, state: 'waiting' })], NOW_MS),
    /a\.test: Cannot get it/,
  );
});
