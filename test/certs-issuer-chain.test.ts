/** Two CAs in order of preference, and how a CA's answers become failures with a cure. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { directoryFrom } from '../shared/certs/acme-connection.js';
import { readAuthorization, readDirectory, readOrder } from '../shared/certs/acme-messages.js';
import { failureOfAll } from '../shared/certs/acme-order.js';
import { readRetryAfter } from '../shared/certs/acme-transport.js';
import { AcmeRefusal, failureOf, IssueFailure, readProblem } from '../shared/certs/issue-failure.js';
import type { Issuer, RenewalWindow } from '../shared/certs/issuer.js';
import { IssuerChain } from '../shared/certs/issuer-chain.js';
import { makePrivateKey } from '../shared/certs/private-key.js';
import { silentLog } from '../shared/log.js';

const acme = 'urn:ietf:params:acme:error:';

function issuer(name: string, failure?: Error, window?: RenewalWindow): Issuer & { asked: number } {
  return {
    name,
    asked: 0,
    async issue() {
      this.asked += 1;
      if (failure) throw failure;
      return { chainPem: name, issuer: name };
    },
    renewalWindow: async () => (failure ? Promise.reject(failure) : window),
  };
}

async function request(signal = new AbortController().signal) {
  return { hostnames: ['a.example.com'], keyPem: await makePrivateKey(), signal };
}

test('the second CA is asked only when the first one fails', async () => {
  const [good, spare] = [issuer('good'), issuer('spare')];
  assert.equal((await new IssuerChain([good, spare], silentLog).issue(await request())).issuer, 'good');
  assert.equal(spare.asked, 0);
  const bad = issuer('bad', new IssueFailure('ca-down', 'Cannot reach it.'));
  assert.equal((await new IssuerChain([bad, spare], silentLog).issue(await request())).issuer, 'spare');
});

test('when both fail the message has both, and the sooner time counts', async () => {
  const limited = new IssueFailure('rate-limited', 'Limited.', { retryInMs: 9_000 });
  const other = new IssueFailure('rate-limited', 'Also limited.', { retryInMs: 5_000 });
  const chain = new IssuerChain([issuer('one', limited), issuer('two', other)], silentLog);
  const both = { reason: 'rate-limited', message: 'Limited. And: Also limited.', retryInMs: 5_000 };
  await assert.rejects(chain.issue(await request()), both);
});

test('who stops asking gets no certificate of the second CA', async () => {
  const stop = new AbortController();
  const spare = issuer('spare');
  const first: Issuer = {
    ...issuer('one'),
    issue: async () => {
      stop.abort();
      throw new Error('stopped');
    },
  };
  await assert.rejects(new IssuerChain([first, spare], silentLog).issue(await request(stop.signal)), /stopped/);
  assert.equal(spare.asked, 0);
});

test('the window comes from the CA that knows the certificate', async () => {
  const window = { startMs: 1, endMs: 2, askAgainInMs: 3 };
  const down = new IssueFailure('ca-down', 'down');
  const windowOf = (...issuers: [Issuer, ...Issuer[]]) => new IssuerChain(issuers, silentLog).renewalWindow('pem');
  assert.deepEqual(await windowOf(issuer('one'), issuer('two', undefined, window)), window);
  assert.deepEqual(await windowOf(issuer('one', down), issuer('two', undefined, window)), window);
  assert.equal(await windowOf(issuer('one'), issuer('two')), undefined);
  await assert.rejects(windowOf(issuer('one', down), issuer('two')), { reason: 'ca-down' });
});

test('each kind of refusal has its reason, what the CA saw, and a cure', () => {
  const attempt = { hostnames: ['app.example.com'], ca: 'ca.test' };
  const table = [
    ['rateLimited', 429, undefined, 'rate-limited', /it is not asked again for 60 min/],
    ['connection', 200, 'http-01', 'unreachable', /Open port 80 in the firewall/],
    ['connection', 200, 'tls-alpn-01', 'unreachable', /Open port 443 in the firewall/],
    ['unauthorized', 200, 'http-01', 'wrong-answer', /A and AAAA records of app\.example\.com are the address/],
    ['unauthorized', 200, 'dns-01', 'wrong-answer', /TXT record of _acme-challenge\.app\.example\.com/],
    ['unauthorized', 403, undefined, 'account', /external account binding/],
    ['dns', 200, 'http-01', 'dns', /Create an A or AAAA record for app\.example\.com/],
    ['caa', 200, 'http-01', 'caa', /add the CAA record 0 issue "ca\.test"/],
    ['rejectedIdentifier', 400, undefined, 'refused', /another hostname/],
    ['invalidProfile', 400, undefined, 'config', /Name a profile/],
    ['serverInternal', 500, undefined, 'ca-down', /tried again/],
    ['', 503, undefined, 'ca-down', /tried again/],
    ['', 429, undefined, 'rate-limited', /Wait/],
    ['badCSR', 400, undefined, 'order', /tried again/],
  ] as const;
  for (const [type, status, challenge, reason, cure] of table) {
    const problem = readProblem({ type: acme + type, detail: 'what it saw' });
    const how = challenge === undefined ? attempt : { ...attempt, challenge };
    const failure = failureOf(challenge === undefined ? new AcmeRefusal(status, problem, undefined) : problem, how);
    assert.equal(failure.reason, reason, type);
    assert.match(failure.message, /app\.example\.com.*‘what it saw’/);
    assert.match(failure.message, cure);
  }
});

test('a compound problem speaks through its first part, and Retry-After is kept', () => {
  const part = { type: `${acme}caa`, detail: 'CAA says no' };
  const problem = readProblem({ type: `${acme}compound`, detail: 'several', subproblems: [part] });
  const failure = failureOf(new AcmeRefusal(403, problem, 7_000), { hostnames: ['a.test'], ca: 'ca.test' });
  assert.equal(failure.reason, 'caa');
  assert.equal(failure.retryInMs, 7_000);
  assert.match(failure.message, /CAA says no/);
});

test('what a CA writes cannot move a cursor nor fill a log', () => {
  const { message } = failureOf(readProblem({ type: `${acme}dns`, detail: `\u001b[2J${'x'.repeat(9_000)}` }), {
    hostnames: ['a.test'],
    ca: 'ca.test',
    challenge: 'http-01',
  });
  assert.ok(!message.includes('\u001b') && message.length < 800);
});

test('Retry-After is read in both forms, and nothing else', () => {
  const nowMs = Date.parse('Fri, 20 Nov 2026 10:00:00 GMT');
  assert.equal(readRetryAfter('120', nowMs), 120_000);
  assert.equal(readRetryAfter('Fri, 20 Nov 2026 10:02:00 GMT', nowMs), 120_000);
  assert.equal(readRetryAfter('Fri, 20 Nov 2026 09:00:00 GMT', nowMs), 0);
  for (const wrong of [undefined, '', '-1', '1.5', 'soon', '99999999999'])
    assert.equal(readRetryAfter(wrong, nowMs), undefined);
});

test('no answer of a CA, however odd, is more than a failure with a code', () => {
  fc.assert(
    fc.property(fc.anything(), (data) => {
      readProblem(data);
      for (const read of [readDirectory, readOrder, readAuthorization]) {
        try {
          read(data);
        } catch (error) {
          assert.ok(error instanceof IssueFailure);
        }
      }
    }),
  );
});

test('when each way of proving a name failed, each is named, and that one is enough', () => {
  const spent = (['tls-alpn-01', 'http-01'] as const).map((type) => {
    const problem = readProblem({ type: `${acme}connection`, detail: 'Get "http://a.test/": no route' });
    return {
      hostname: 'a.test',
      type,
      failure: failureOf(problem, { hostnames: ['a.test'], ca: 'ca', challenge: type }),
    };
  });
  const { message = '' } = failureOfAll(spent) ?? {};
  assert.match(message, /^Cannot get a certificate for a\.test from ca: the CA could not reach port 443 /);
  assert.match(message, /It saw: ‘Get "http:\/\/a\.test\/": no route’\. Open port 443 /);
  assert.match(
    message,
    / Another way failed too: the CA could not reach port 80 .* Open port 80 .* One of them is enough\.$/,
  );
  assert.equal(failureOfAll(spent.slice(1)), spent[1]?.failure);
});

test('an address where no ACME directory is says so, whatever is there', async () => {
  const url = 'https://ca.test/directory';
  const missing = new AcmeRefusal(404, readProblem('404 page not found\n'), undefined);
  const message =
    'Cannot use the CA at ca.test: there is no ACME directory at https://ca.test/directory. Check acme.directory_url.';
  await assert.rejects(
    directoryFrom(url, () => Promise.reject(missing)),
    { reason: 'config', message },
  );
  await assert.rejects(
    directoryFrom(url, async () => '<html>'),
    { reason: 'config', message },
  );
  const down = new AcmeRefusal(503, readProblem('busy'), undefined);
  await assert.rejects(
    directoryFrom(url, () => Promise.reject(down)),
    down,
  );
});
