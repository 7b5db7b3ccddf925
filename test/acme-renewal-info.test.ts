/** ARI and profiles (RFC 9773) against a small CA front of the test's own, since Debian's pebble has neither. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import fc from 'fast-check';
import { AccountStore } from '../shared/certs/account-store.js';
import { AcmeIssuer, type AcmeIssuerOptions } from '../shared/certs/acme-issuer.js';
import { readElements } from '../shared/certs/der.js';
import { HttpSolver } from '../shared/certs/http-solver.js';
import { IssueFailure } from '../shared/certs/issue-failure.js';
import { makePrivateKey } from '../shared/certs/private-key.js';
import { certificateIdOf, readRenewalInfo } from '../shared/certs/renewal-info.js';
import { silentLog } from '../shared/log.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';

/** RFC 9773, appendix A. */
const EXAMPLE = `-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
`;

const window = { start: '2026-12-01T00:00:00Z', end: '2026-12-02T00:00:00Z' };

test('the certificate id is the one of the RFC', () => {
  assert.equal(certificateIdOf(EXAMPLE), 'aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE');
  assert.equal(certificateIdOf('torn'), undefined);
});

test('no bytes make the DER reader do more than refuse', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        const elements = readElements(Buffer.from(bytes));
        assert.ok(elements.every(({ content, end }) => content.length <= end && end <= bytes.length));
      } catch (error) {
        assert.ok(error instanceof RangeError);
      }
    }),
  );
});

test('a window is taken as it is said, and nothing else is a window', () => {
  const read = readRenewalInfo({ suggestedWindow: window, explanationURL: 'https://ca.test/why' }, 7_200_000);
  const [startMs, endMs] = [Date.parse(window.start), Date.parse(window.end)];
  assert.deepEqual(read, { startMs, endMs, askAgainInMs: 7_200_000, explanationUrl: 'https://ca.test/why' });
  assert.equal(readRenewalInfo({ suggestedWindow: window }, undefined).askAgainInMs, 6 * 3_600_000);
  assert.equal(readRenewalInfo({ suggestedWindow: window }, 0).askAgainInMs, 60_000);
  assert.equal(readRenewalInfo({ suggestedWindow: window }, 9e9).askAgainInMs, 86_400_000);
  const swapped = { suggestedWindow: { start: window.end, end: window.start } };
  for (const wrong of [swapped, {}, undefined, { suggestedWindow: { start: 'soon', end: 'later' } }]) {
    assert.throws(() => readRenewalInfo(wrong, undefined), { reason: 'ca-down' });
  }
  fc.assert(
    fc.property(fc.anything(), fc.option(fc.nat(), { nil: undefined }), (data, retryAfterMs) => {
      assert.throws(() => readRenewalInfo(data, retryAfterMs), IssueFailure);
    }),
  );
});

/** A CA that is only a directory and what `answer` says. */
async function issuerAt(t: TestContext, answer: RequestListener, options: Partial<AcmeIssuerOptions> = {}) {
  const ca = await TestCa.make();
  const folder = temporaryFolder(t);
  const caFile = join(folder, 'ca.pem');
  writeFileSync(caFile, ca.certPem);
  const server = createServer(await ca.issue('localhost'), answer).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const base = `https://localhost:${(server.address() as AddressInfo).port}`;
  const accounts = new AccountStore(join(folder, 'accounts'));
  return new AcmeIssuer({ directory: `${base}/dir`, caFile, accounts, solvers: [], log: silentLog, ...options });
}

function json(
  response: Parameters<RequestListener>[1],
  body: object,
  headers: Record<string, string> = {},
  status = 200,
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

test('the issuer asks the CA of the directory for the window of a certificate', async (t) => {
  const asked: string[] = [];
  const issuer = await issuerAt(t, (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    const base = `https://${request.headers.host}`;
    if (request.url === '/dir') json(response, { newOrder: `${base}/order`, renewalInfo: `${base}/ari` });
    else json(response, { suggestedWindow: window }, { 'retry-after': '3600' });
  });
  const said = await issuer.renewalWindow(EXAMPLE);
  assert.deepEqual(asked, ['GET /dir', 'GET /ari/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE']);
  assert.deepEqual([said?.startMs, said?.askAgainInMs], [Date.parse(window.start), 3_600_000]);
});

test('a CA without ARI, and one that does not know the certificate, say nothing; one that is down fails', async (t) => {
  const without = await issuerAt(t, (_request, response) => json(response, { newOrder: 'https://ca.test/order' }));
  assert.equal(await without.renewalWindow(EXAMPLE), undefined);
  for (const [status, known] of [
    [404, false],
    [503, true],
  ] as const) {
    const issuer = await issuerAt(t, (request, response) => {
      const base = `https://${request.headers.host}`;
      if (request.url === '/dir') json(response, { newOrder: `${base}/order`, renewalInfo: `${base}/ari/` });
      else
        json(response, { type: 'urn:ietf:params:acme:error:malformed', detail: 'no' }, { 'retry-after': '9' }, status);
    });
    if (known) await assert.rejects(issuer.renewalWindow(EXAMPLE), { code: 'CERTIFICATE_FAILED', retryInMs: 9_000 });
    else assert.equal(await issuer.renewalWindow(EXAMPLE), undefined);
  }
});

test('an order names its profile and what it replaces, and goes on without the latter when the CA minds', async (t) => {
  const orders: object[] = [];
  const issuer = await issuerAt(
    t,
    async (request, response) => {
      const base = `https://${request.headers.host}`;
      const nonce = { 'replay-nonce': 'bm9uY2U', location: `${base}/account/1` };
      if (request.url === '/dir') {
        const urls = { newNonce: `${base}/nonce`, newAccount: `${base}/account`, newOrder: `${base}/order` };
        return json(response, { ...urls, renewalInfo: `${base}/ari`, meta: { profiles: { short: 'six days' } } });
      }
      if (request.url === '/nonce') return void response.writeHead(200, nonce).end();
      if (request.url === '/account') return json(response, {}, nonce, 201);
      orders.push(await payloadOf(request));
      const type = `urn:ietf:params:acme:error:${orders.length === 1 ? 'alreadyReplaced' : 'rateLimited'}`;
      json(response, { type, detail: 'too many' }, { ...nonce, 'retry-after': '120' }, orders.length === 1 ? 409 : 429);
    },
    { profile: 'short', solvers: [new HttpSolver()] },
  );
  const request = { hostnames: ['a.test'], keyPem: await makePrivateKey(), signal: new AbortController().signal };
  const limited = { reason: 'rate-limited', retryInMs: 120_000 };
  await assert.rejects(issuer.issue({ ...request, replaces: EXAMPLE }), limited);
  const order = { identifiers: [{ type: 'dns', value: 'a.test' }], profile: 'short' };
  assert.deepEqual(orders, [{ ...order, replaces: 'aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE' }, order]);
});

async function payloadOf(request: AsyncIterable<Buffer>): Promise<object> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece);
  const { payload } = JSON.parse(Buffer.concat(pieces).toString());
  return JSON.parse(Buffer.from(payload, 'base64url').toString());
}
