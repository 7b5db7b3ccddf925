import assert from 'node:assert/strict';
import { test } from 'node:test';
import { http2Warning, offersHttp2 } from '../shared/http2/http2-mode.js';
import { isPatchedRuntime } from '../shared/patched-runtime.js';

const PATCHED = ['22.23.2', '22.23.3', '22.24.0', '24.18.1', '24.19.0', '26.5.1', '26.10.0', '27.0.0', '28.1.0'];
const UNPATCHED = [
  '20.20.2',
  '20.99.9',
  '21.7.3',
  '22.23.1',
  '22.9.9',
  '23.11.0',
  '24.18.0',
  '25.9.0',
  '26.5.0',
  '',
  'x',
];

test('a runtime is patched from the first release of its line that has the fixes', () => {
  for (const version of PATCHED) assert.ok(isPatchedRuntime(version), version);
  for (const version of UNPATCHED) assert.ok(!isPatchedRuntime(version), version);
});

test('auto follows the runtime, on and off do not', () => {
  assert.deepEqual(
    [offersHttp2('auto', '20.20.2'), offersHttp2('on', '20.20.2'), offersHttp2('off', '26.10.0')],
    [false, true, false],
  );
  assert.equal(offersHttp2('auto', '26.10.0'), true);
  assert.equal(offersHttp2('auto'), isPatchedRuntime(process.versions.node));
});

test('an unpatched runtime is told of at start, with the releases that cure it', () => {
  assert.equal(
    http2Warning('auto', '20.20.2'),
    'HTTP/2 is not offered: Node 20.20.2 lacks security fixes. Install 22.23.2, 24.18.1, 26.5.1 or newer',
  );
  assert.match(
    http2Warning('on', '24.18.0') ?? '',
    /^HTTP\/2 is offered, as http2: on says, although Node 24\.18\.0 lacks/,
  );
  assert.equal(http2Warning('off', '20.20.2'), undefined);
  assert.equal(http2Warning('auto', '26.5.1'), undefined);
});
