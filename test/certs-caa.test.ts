/** The CAA records that keep a certificate in the hands of one account. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { caaRecords } from '../shared/certs/caa-advice.js';

const account = { accountUrl: 'https://ca.example/acct/1', caaIdentities: ['ca.example', 'ca.test'] };

test('a hostname: one record for each name of the CA, and none may issue wildcards', () => {
  assert.deepEqual(caaRecords('app.example.com', [account]), [
    'app.example.com. CAA 0 issue "ca.example; accounturi=https://ca.example/acct/1"',
    'app.example.com. CAA 0 issue "ca.test; accounturi=https://ca.example/acct/1"',
    'app.example.com. CAA 0 issuewild ";"',
  ]);
});

test('a wildcard: the record stands at its parent and holds for both kinds, with a record per CA', () => {
  const other = { accountUrl: 'https://other.example/2', caaIdentities: ['other.example'] };
  assert.deepEqual(caaRecords('*.example.com', [{ ...account, caaIdentities: ['ca.example'] }, other]), [
    'example.com. CAA 0 issue "ca.example; accounturi=https://ca.example/acct/1"',
    'example.com. CAA 0 issue "other.example; accounturi=https://other.example/2"',
  ]);
});

test('a CA that looks at no CAA records gets none: such a record would lock it out', () => {
  assert.deepEqual(caaRecords('app.example.com', []), []);
  assert.deepEqual(caaRecords('app.example.com', [{ ...account, caaIdentities: [] }]), []);
});
