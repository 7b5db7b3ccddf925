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
});

test('a name that waits says when it is tried next, one that is good when it is renewed, and no moment stands twice', () => {
  const waiting = certificateEntry({ ...failed, state: 'waiting' });
  assert.equal(
    formatCertificates([waiting, certificateEntry({ name: 'b.test', state: 'valid', renewAtMs: NOW_MS })], NOW_MS),
    `NAME    STATE    ISSUER  EXPIRES  RENEWAL
a.test  waiting  -       -        next attempt in 54s
b.test  valid    -       -        2027-01-01T12:00Z

a.test: Cannot get it. Do this.`,
  );
});
