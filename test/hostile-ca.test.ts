/** What a CA that is broken, or was taken over, can do to those who ask it: nothing but refuse. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { AccountStore } from '../shared/certs/account-store.js';
import { AcmeIssuer } from '../shared/certs/acme-issuer.js';
import { caaRecords } from '../shared/certs/caa-advice.js';
import { readProblem } from '../shared/certs/issue-failure.js';
import { checkedChain } from '../shared/certs/issued-chain.js';
import type { Challenge } from '../shared/certs/issuer.js';
import { silentLog } from '../shared/log.js';
import { Secret } from '../shared/secret.js';
import { startHostileCa } from './support/hostile-ca.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';

const NAME = 'app.example.com';
const BROKEN = '-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n';

async function world(t: TestContext) {
  const ca = await startHostileCa(t, NAME);
  const presented: Challenge[] = [];
  const solver = {
    type: 'dns-01',
    supports: () => true,
    present: async (challenge: Challenge) => void presented.push(challenge),
    cleanup: async () => {},
  } as const;
  const accounts = new AccountStore(join(temporaryFolder(t), 'accounts'));
  const { directoryUrl: directory, caFile } = ca;
  const issuer = new AcmeIssuer({ directory, caFile, accounts, solvers: [solver], log: silentLog, pollMs: 10 });
  const { key, cert } = await (await TestCa.make()).issue(NAME);
  const issue = () => issuer.issue({ hostnames: [NAME], keyPem: new Secret(key), signal: AbortSignal.timeout(10_000) });
  return { ca, presented, issue, key, cert };
}

for (const value of ['bank.example.com', '$(reboot).example.com', '../../etc', '-v', `*.${NAME}`]) {
  test(`a CA that wants proof for ${value} in an order for another name gets none`, async (t) => {
    const { ca, presented, issue } = await world(t);
    const challenges = [{ type: 'dns-01', url: `${ca.directoryUrl}/challenge`, token: 'abc', status: 'pending' }];
    ca.answers.set('/authz', { status: 'pending', identifier: { type: 'dns', value }, challenges });
    await assert.rejects(issue(), { code: 'CERTIFICATE_FAILED', message: /it wants proof for "/ });
    assert.deepEqual(presented, [], 'no program of the operator was started with it');
    assert.ok(!ca.asked.some((path) => path.endsWith('/challenge')));
  });
}

test('a CA that wants more proofs than there are names is asked for none of them', async (t) => {
  const { ca, issue } = await world(t);
  ca.answers.set('/order', { status: 'pending', authorizations: Array(200).fill(`${ca.directoryUrl}/authz`) });
  await assert.rejects(issue(), { code: 'CERTIFICATE_FAILED', message: /200 proofs for 1 names/ });
  assert.ok(!ca.asked.some((path) => path.endsWith('/authz')));
});

test('of what the CA sends as a chain only certificates are kept', async (t) => {
  const { ca, issue, key, cert } = await world(t);
  ca.chain = () => `ssl_engine evil;\n${key}${cert}trailing`;
  const { chainPem } = await issue();
  assert.equal(chainPem.trim(), cert.trim());
});

test('a chain that TLS cannot use is refused before it replaces anything', async (t) => {
  const { ca, issue, key, cert } = await world(t);
  ca.chain = () => `${cert}${BROKEN}`;
  await assert.rejects(issue(), { code: 'CERTIFICATE_FAILED', message: /Cannot use the certificate for app/ });
  const wanted = { hostnames: [NAME], keyPem: new Secret(key) };
  assert.throws(() => checkedChain(cert.repeat(11), wanted), /the CA sent 11 certificates/);
  const other = await (await TestCa.make()).issue(NAME);
  assert.throws(() => checkedChain(other.cert, wanted), /another key/);
});

test('problems within problems, however deep, are read one level deep', () => {
  const depth = 50_000;
  const deep: unknown = JSON.parse(`${'{"detail":"x","subproblems":['.repeat(depth)}{}${']}'.repeat(depth)}`);
  const { detail, subproblems } = readProblem(deep);
  assert.deepEqual([detail, subproblems], ['x', [{ type: '', detail: 'x', subproblems: [] }]]);
});

test('what a CA calls itself or our account becomes no other record when it is pasted into a zone', () => {
  const accountUrl = 'https://ca.test/acct/1';
  for (const name of ['ca.test"\nevil CAA 0 issue "evil.test', 'ca.test; x=y', ';', '']) {
    assert.deepEqual(caaRecords(NAME, [{ accountUrl, caaIdentities: [name] }]), []);
  }
  for (const url of [`${accountUrl}"\nx`, `${accountUrl}; validationmethods=http-01`, 'ca.test']) {
    assert.deepEqual(caaRecords(NAME, [{ accountUrl: url, caaIdentities: ['ca.test'] }]), []);
  }
});
