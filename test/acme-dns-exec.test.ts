/** DNS-01 through a program of the operator's, against pebble. */
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { AccountStore } from '../shared/certs/account-store.js';
import { AcmeIssuer } from '../shared/certs/acme-issuer.js';
import { DnsExecSolver } from '../shared/certs/dns-exec-solver.js';
import { factsOf } from '../shared/certs/issued-chain.js';
import type { Challenge } from '../shared/certs/issuer.js';
import { makePrivateKey } from '../shared/certs/private-key.js';
import { waitForTxt } from '../shared/certs/txt-propagation.js';
import { silentLog } from '../shared/log.js';
import { startTestDns } from './support/acme-dns.js';
import { startPebble } from './support/pebble.js';
import { temporaryFolder } from './support/temporary-folder.js';

const challenge: Challenge = {
  hostname: 'example.com',
  token: 'token',
  keyAuthorization: 'token.thumb',
  dnsName: '_acme-challenge.example.com',
  dnsValue: 'value; $(touch pwned) "quoted"',
};

const ONE = '_acme-challenge.one.test';
/** Nobody answers there. */
const NO_SERVER = '127.0.0.1:1';

function hookOf(folder: string, lines: string): string {
  const hook = join(folder, 'hook.sh');
  writeFileSync(hook, `#!/bin/sh\n${lines}\n`);
  chmodSync(hook, 0o755);
  return hook;
}

test('a wildcard is proven by DNS-01', async (t) => {
  const dns = await startTestDns(t);
  const pebble = dns && (await startPebble(t, { dnsServer: dns.server }));
  if (!pebble) return;
  const accounts = new AccountStore(join(temporaryFolder(t), 'accounts'));
  const { directoryUrl: directory, caFile } = pebble;
  const issuer = new AcmeIssuer({ directory, caFile, accounts, solvers: [dns.solver], log: silentLog, pollMs: 20 });
  const keyPem = await makePrivateKey();
  const { chainPem } = await issuer.issue({
    hostnames: ['*.example.com'],
    keyPem,
    signal: AbortSignal.timeout(30_000),
  });
  assert.deepEqual(factsOf(chainPem).hostnames, ['*.example.com']);
});

test('the hook gets verb, name and value as arguments, with no shell in between', async (t) => {
  const folder = temporaryFolder(t);
  const command = hookOf(folder, `printf '%s\\n' "$@" >> ${join(folder, 'args')}`);
  const solver = new DnsExecSolver({ command, propagation: { servers: [NO_SERVER], timeoutMs: 100, lookMs: 20 } });
  await assert.rejects(solver.present(challenge), /is not there/);
  await solver.cleanup(challenge);
  const { dnsName, dnsValue } = challenge;
  const args = readFileSync(join(folder, 'args'), 'utf8').trim().split('\n');
  assert.deepEqual(args, ['add', dnsName, dnsValue, 'remove', dnsName, dnsValue]);
});

test('a hook that fails, hangs or is missing says so', async (t) => {
  const folder = temporaryFolder(t);
  const failing = new DnsExecSolver({ command: hookOf(folder, 'echo no such zone >&2; exit 3') });
  await assert.rejects(failing.present(challenge), {
    reason: 'solver',
    message: /ended with 3: no such zone\. Run it by hand/,
  });
  const hanging = new DnsExecSolver({ command: hookOf(temporaryFolder(t), 'exec sleep 30'), timeoutMs: 100 });
  await assert.rejects(hanging.present(challenge), /took longer than 100 ms/);
  const flooding = new DnsExecSolver({ command: hookOf(temporaryFolder(t), 'exec yes') });
  await assert.rejects(flooding.present(challenge), /wrote more than 65536 bytes/);
  await assert.rejects(new DnsExecSolver({ command: join(folder, 'none') }).present(challenge), /ENOENT/);
});

test('challenges at one name take turns, so that a hook may remove all that is there; others do not wait', async (t) => {
  const dns = await startTestDns(t);
  if (!dns) return;
  const log = join(temporaryFolder(t), 'log');
  const command = hookOf(temporaryFolder(t), `echo "$1 $3" >> ${log}; exec ${dns.hook} "$@"`);
  const solver = new DnsExecSolver({ command, propagation: { servers: [dns.server], timeoutMs: 20_000, lookMs: 20 } });
  const at = (dnsName: string, dnsValue: string): Challenge => ({ ...challenge, dnsName, dnsValue });
  const [first, second, third] = [at(ONE, 'first'), at(ONE, 'second'), at(ONE, 'third')];
  const other = at('_acme-challenge.two.test', 'other');
  await solver.present(first);
  const waiting = [solver.present(second), solver.present(third)];
  await solver.present(other);
  // Its order was given up: what it did not add, it does not remove.
  await solver.cleanup(second);
  await solver.cleanup(first);
  await Promise.all(waiting);
  await solver.cleanup(third);
  const said = readFileSync(log, 'utf8').trim().split('\n');
  assert.deepEqual(said, ['add first', 'add other', 'remove first', 'add third', 'remove third']);
});

test('the CA is not told before the record is there, and a record that never comes is a failure', async (t) => {
  const dns = await startTestDns(t);
  if (!dns) return;
  const options = { servers: [dns.server], timeoutMs: 5_000, lookMs: 20 };
  const arrived = waitForTxt('_acme-challenge.late.test', 'value', options);
  await new DnsExecSolver({ command: dns.hook, propagation: options }).present({
    ...challenge,
    dnsName: '_acme-challenge.late.test',
    dnsValue: 'value',
  });
  await arrived;
  const never = waitForTxt('_acme-challenge.never.test', 'value', { ...options, timeoutMs: 200 });
  await assert.rejects(never, { reason: 'solver', message: /TXT _acme-challenge\.never\.test is not there/ });
});

test('what the hook said is the reason of the failure, for the name that was ordered; its record is awaited meanwhile', async (t) => {
  const pebble = await startPebble(t);
  if (!pebble) return;
  const folder = temporaryFolder(t);
  const { directoryUrl: directory, caFile } = pebble;
  const command = hookOf(folder, 'echo API key refused >&2; exit 3');
  const accounts = new AccountStore(join(folder, 'accounts'));
  const solvers = [new DnsExecSolver({ command })];
  const issuer = new AcmeIssuer({ directory, caFile, accounts, solvers, log: silentLog, pollMs: 20 });
  const steps: string[] = [];
  const issued = issuer.issue({
    hostnames: ['*.example.com'],
    keyPem: await makePrivateKey(),
    signal: AbortSignal.timeout(30_000),
    onStep: (step) => void steps.push(step),
  });
  const message = `Cannot prove *.example.com by dns-01. ${command}: it ended with 3: API key refused. Run it by hand.`;
  await assert.rejects(issued, { reason: 'solver', message });
  assert.deepEqual(steps, ['dns', 'ca']);
});
