/** The service units: systemd understands every line, and they name what the programs really do. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { exitOf } from '../shared/errors.js';
import { requireTool } from './support/require-tool.js';
import { runTool } from './support/tool-process.js';

const folder = fileURLToPath(new URL('../../systemd/', import.meta.url));
const units = readdirSync(folder).map((name) => join(folder, name));

test('systemd finds nothing to say against the units', async (t) => {
  const analyze = requireTool(t, 'systemd-analyze', 'systemd');
  if (analyze === undefined) return;
  assert.equal(units.length, 2);
  const { code, stdout, stderr } = await runTool(t, analyze, ['verify', ...units]);
  assert.deepEqual({ code, said: stdout + stderr }, { code: 0, said: '' });
});

test('a service is not started again after an exit that would only repeat itself', () => {
  const hopeless = [exitOf('VERSION_UNSUPPORTED'), exitOf('TOKEN_REJECTED'), exitOf('CONFIG_INVALID')].join(' ');
  for (const unit of units) {
    assert.equal(/^RestartPreventExitStatus=(.*)$/m.exec(readFileSync(unit, 'utf8'))?.[1], hopeless, unit);
  }
});
