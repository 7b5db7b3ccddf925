/** Grants: a token may claim what is written in it, and nothing beside that. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { makeGrants, mayClaimHost, mayClaimPort } from '../relay-server/sessions/grants.js';

test('an exact host covers itself alone', () => {
  const grants = makeGrants(['App.Example.com.'], []);
  assert.equal(mayClaimHost(grants, 'app.example.com'), true);
  for (const other of ['example.com', 'b.app.example.com', 'xapp.example.com', '*.example.com', '*.app.example.com']) {
    assert.equal(mayClaimHost(grants, other), false, other);
  }
});

test('a wildcard covers one label in place of its star, and the claim of that wildcard', () => {
  const grants = makeGrants(['*.home.example.com'], []);
  for (const covered of ['a.home.example.com', 'x-1.home.example.com', '*.home.example.com']) {
    assert.equal(mayClaimHost(grants, covered), true, covered);
  }
  for (const other of [
    'home.example.com',
    'a.b.home.example.com',
    '*.b.home.example.com',
    '*.example.com',
    'ahome.example.com',
  ]) {
    assert.equal(mayClaimHost(grants, other), false, other);
  }
});

test('a claim that is not in stored form is never covered', () => {
  const grants = makeGrants(['*.example.com', 'app.example.com'], []);
  for (const claim of [
    'APP.example.com',
    'app.example.com.',
    'a/b.example.com',
    'a\0.example.com',
    '.example.com',
    '',
    '*',
    '*.',
  ]) {
    assert.equal(mayClaimHost(grants, claim), false, claim);
  }
});

test('hosts and ports that are none are refused', () => {
  for (const host of ['*', '*.com', 'a.*.example.com', 'a b.example.com', '', '203.0.113.7']) {
    assert.throws(() => makeGrants([host], []), { code: 'CONFIG_INVALID' }, host);
  }
  for (const range of ['', '0', '65536', '22-', '-22', '30-20', '1-70000', '1e3', ' 22', '022', '1-2-3']) {
    assert.throws(() => makeGrants([], [range]), { code: 'CONFIG_INVALID' }, range);
  }
});

test('grants are kept once and in stored form', () => {
  const grants = makeGrants(['A.example.com', 'a.example.com.'], ['22', '22']);
  assert.deepEqual(grants, { hosts: ['a.example.com'], tcpPorts: ['22'] });
});

/** Without `--`, which is for names in other scripts. */
const label = fc.stringMatching(/^[a-z][a-z0-9]{0,4}(-[a-z0-9]{1,3})?$/);
const hostname = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => [...labels, 'example'].join('.'));

test('a wildcard grant covers exactly the hostnames with one more label than its parent', () => {
  fc.assert(
    fc.property(hostname, fc.array(label, { maxLength: 3 }), hostname, (parent, labels, other) => {
      const grants = makeGrants([`*.${parent}`], []);
      const below = [...labels, parent].join('.');
      assert.equal(mayClaimHost(grants, below), labels.length === 1);
      const isChild = other.slice(other.indexOf('.') + 1) === parent;
      assert.equal(mayClaimHost(grants, other), isChild);
      assert.equal(mayClaimHost(makeGrants([parent], []), other), parent === other);
    }),
  );
});

test('no text is covered by a grant unless it is a hostname or wildcard of the granted form', () => {
  const grants = makeGrants(['*.example.com', 'example.org'], []);
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string({ maxLength: 4 }).map((text) => `${text}.example.com`),
      ),
      (text) => {
        if (!mayClaimHost(grants, text)) return;
        assert.match(text, /^((\*|[a-z0-9]([a-z0-9-]*[a-z0-9])?)\.example\.com|example\.org)$/);
      },
    ),
  );
});

test('a port is covered exactly when it lies in one of the ranges', () => {
  const port = fc.integer({ min: 1, max: 65_535 });
  const range = fc.tuple(port, port).map((ends) => ends.sort((one, other) => one - other));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 4 }), port, (ranges, asked) => {
      const texts = ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`));
      const expected = ranges.some(([first = 0, last = 0]) => asked >= first && asked <= last);
      assert.equal(mayClaimPort(makeGrants([], texts), asked), expected);
    }),
  );
  const all = makeGrants([], ['1-65535']);
  for (const odd of [0, -1, 65_536, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
    assert.equal(mayClaimPort(all, odd), false);
});
