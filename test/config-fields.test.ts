/** How one section is read: types, defaults, limits, and everything that is wrong told at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Fields } from '../shared/config/config-fields.js';
import { listenAddress, network, orOff } from '../shared/config/config-kinds.js';
import { listOptions, parseConfig } from '../shared/config-file.js';
import { refusalOf } from './support/config-error.js';

const FILE = '/etc/sallyport/some.yaml';

function parse<T>(text: string, read: (root: Fields) => T): T {
  return parseConfig(text, FILE, read, { env: {} });
}

function readShip(root: Fields) {
  return {
    name: root.string('name'),
    masts: root.integer('masts', { min: 1, max: 7, default: 3 }),
    isArmed: root.boolean('armed', { default: false }),
    watchMs: root.duration('watch', { default: 14_400_000 }),
    hold: root.bytes('hold', { min: 0, max: 1 << 30, default: 1 << 20 }),
    rig: root.choice('rig', ['brig', 'ship', 'sloop'], { default: 'ship' }),
    port: root.hostname('port', { default: undefined }),
    log: root.path('log', { default: '/var/log/ship' }),
    quay: root.value('quay', orOff(listenAddress), { default: { host: '0.0.0.0', port: 1 } }),
    allies: root.values('allies', network),
    boats: root.list('boats', (boat) => ({
      name: boat.string('name'),
      oars: boat.integer('oars', { min: 2, max: 20 }),
    })),
    captain: root.section('captain', (captain) => captain.string('name', { default: 'nobody' })),
  };
}

const DEFAULTS = {
  name: 'Surprise',
  masts: 3,
  isArmed: false,
  watchMs: 14_400_000,
  hold: 1 << 20,
  rig: 'ship',
  port: undefined,
  log: '/var/log/ship',
  quay: { host: '0.0.0.0', port: 1 },
  allies: [],
  boats: [],
  captain: 'nobody',
};

test('what is left out has its default', () => {
  assert.deepEqual(parse('name: Surprise', readShip), DEFAULTS);
});

test('a key, section or list whose lines are commented out counts as left out', () => {
  const text = 'name: Surprise\nallies:\n  # - 10.0.0.0/8\nboats:\ncaptain:\n  # name: Jack\n';
  assert.deepEqual(parse(text, readShip), DEFAULTS);
});

test('every kind of value is read', () => {
  const text = `
name: "Surprise: a ship"
masts: 0x3
armed: true
watch: 4h
hold: 2MiB
rig: brig
port: Portsmouth.Example.
log: logs/ship
quay: off
allies: [10.0.0.0/8, "::1"]
boats:
  - { name: jolly, oars: 4 }
  - name: 7
    oars: 10
captain: { name: Jack }
`;
  assert.deepEqual(parse(text, readShip), {
    name: 'Surprise: a ship',
    masts: 3,
    isArmed: true,
    watchMs: 14_400_000,
    hold: 2 << 20,
    rig: 'brig',
    port: 'portsmouth.example',
    log: '/etc/sallyport/logs/ship',
    quay: undefined,
    allies: ['10.0.0.0/8', '::1'],
    boats: [
      { name: 'jolly', oars: 4 },
      { name: '7', oars: 10 },
    ],
    captain: 'Jack',
  });
});

test('everything that is wrong is told, in the order of the lines', () => {
  const text = `boats:
  - oars: 1
  - name: jolly
    oars: many
  - text
captain: Jack
masts: 2.5
armed: yes
watch: 0s
hold: 2GiB
rig: bring
port: [a]
log: ""
quay: false
allies: 10.0.0.0/8
sails: 12
`;
  assert.deepEqual(refusalOf(() => parse(text, readShip)).split('\n'), [
    'some.yaml:1: name is missing; it must be text',
    'some.yaml:2: boats[0].oars must be a whole number from 2 to 20, got 1',
    'some.yaml:2: boats[0].name is missing; it must be text',
    'some.yaml:4: boats[1].oars must be a whole number from 2 to 20, got "many"',
    'some.yaml:5: boats[2] must be a section of "key: value" lines, got text',
    'some.yaml:6: captain must be a section of "key: value" lines, got text',
    'some.yaml:7: masts must be a whole number from 1 to 7, got 2.5',
    'some.yaml:8: armed must be true or false, got "yes"',
    'some.yaml:9: watch must be a duration from 1ms to 24d, got "0s"',
    'some.yaml:10: hold must be a size from 0B to 1GiB, got "2GiB"',
    'some.yaml:11: rig must be brig, ship or sloop, got "bring". Did you mean brig?',
    'some.yaml:12: port must be a hostname such as app.example.com, got a list',
    'some.yaml:13: log must be a path',
    'some.yaml:14: quay must be an address such as 0.0.0.0:443, [::]:443 or :443, or off, got false',
    'some.yaml:15: allies must be a list, got "10.0.0.0/8"',
    'some.yaml:16: sails is not a known key. Known keys: name, masts, armed, watch, hold, rig, port, log, quay, allies, boats, captain',
  ]);
});

test('a key without a value is told as such where a value is needed', () => {
  assert.equal(
    refusalOf(() => parse('name:', readShip)),
    'some.yaml:1: name must be text, got nothing',
  );
});

test('a mistyped key is not told as a missing one too', () => {
  assert.equal(
    refusalOf(() => parse('nmae: Surprise', readShip)),
    'some.yaml:1: nmae is not a known key. Did you mean name?',
  );
});

test('a key that stands twice names both lines', () => {
  const text = 'name: Surprise\nmasts: 3\nname: Sophie\n';
  assert.equal(
    refusalOf(() => parse(text, readShip)),
    'some.yaml:3: name stands here and on line 1. Keep one',
  );
});

test('a rule that binds several options says nothing about one that is already wrong', () => {
  const read = (root: Fields) => {
    root.integer('masts', { min: 1, max: 7 });
    root.refuse('masts', 'does not fit the rig');
    root.refuse('masts', 'does not fit the hull');
  };
  assert.equal(
    refusalOf(() => parse('masts: 8', read)),
    'some.yaml:1: masts must be a whole number from 1 to 7, got 8',
  );
  assert.equal(
    refusalOf(() => parse('masts: 7', read)),
    'some.yaml:1: masts does not fit the rig',
  );
  assert.equal(
    refusalOf(() => parse('', read)),
    'some.yaml:1: masts is missing; it must be a whole number from 1 to 7',
  );
});

test('keys of Object.prototype are keys like all others', () => {
  const text = 'name: Surprise\n__proto__: { masts: 7 }\nconstructor: x\ntoString: x\n';
  const message = refusalOf(() => parse(text, readShip));
  assert.match(message, /^some\.yaml:2: __proto__ is not a known key/m);
  assert.match(message, /^some\.yaml:3: constructor is not a known key/m);
  assert.match(message, /^some\.yaml:4: toString is not a known key/m);
  const read = (root: Fields) => root.string('constructor', { default: 'none' });
  assert.equal(parse('', read), 'none');
});

test('a file of problems tells the first fifty', () => {
  const text = Array.from({ length: 80 }, (_, i) => `key${i}: 1`).join('\n');
  const lines = refusalOf(() => parse(text, () => {})).split('\n');
  assert.equal(lines.length, 51);
  assert.equal(lines.at(-1), 'some.yaml: and 30 more problems');
});

test('control characters and bidi marks of a file reach nobody', () => {
  const message = refusalOf(() => parse('name: "x\\e[2J\u202e"\n"k\\e[31m": 1\nrig: "\\x9b\\u2028"\n', readShip));
  assert.doesNotMatch(message.replaceAll('\n', ''), /[\p{Cc}\p{Cf}\p{Zl}]/u);
});

test('the options of a reader are listed in its order, with defaults as they are written', () => {
  assert.deepEqual(listOptions(readShip), [
    { path: 'name', default: undefined },
    { path: 'masts', default: '3' },
    { path: 'armed', default: 'false' },
    { path: 'watch', default: '4h' },
    { path: 'hold', default: '1MiB' },
    { path: 'rig', default: 'ship' },
    { path: 'port', default: undefined },
    { path: 'log', default: '/var/log/ship' },
    { path: 'quay', default: '0.0.0.0:1' },
    { path: 'allies', default: '[]' },
    { path: 'boats[].name', default: undefined },
    { path: 'boats[].oars', default: undefined },
    { path: 'captain.name', default: 'nobody' },
  ]);
});
