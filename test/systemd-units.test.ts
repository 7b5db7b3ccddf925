/** The service units: systemd understands every line, trusts them with little, and they name what the programs really do. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { exitOf } from '../shared/errors.js';
import { requireTool } from './support/require-tool.js';
import { runTool } from './support/tool-process.js';

const folder = fileURLToPath(new URL('../../systemd/', import.meta.url));
const units = readdirSync(folder).filter((name) => /\.(?:service|socket)$/.test(name));
const services = units.filter((name) => name.endsWith('.service'));
const textOf = (name: string) => readFileSync(join(folder, name), 'utf8');
/** `systemd-analyze security` counts from 0 (locked in) to 10 (may do anything). */
const MAX_EXPOSURE = '20';

test('systemd finds nothing to say against the units', async (t) => {
  const analyze = requireTool(t, 'systemd-analyze', 'systemd');
  if (analyze === undefined) return;
  assert.deepEqual([units.length, services.length], [5, 3]);
  // Of a template systemd checks an instance; the name says which.
  const paths = units.map((name) => join(folder, name.replace('@.', '@one.')));
  const { code, stdout, stderr } = await runTool(t, analyze, ['verify', ...paths]);
  assert.deepEqual({ code, said: stdout + stderr }, { code: 0, said: '' });
});

for (const name of services) {
  test(`${name}: a service that is broken into may do little (exposure at most 2.0)`, async (t) => {
    const analyze = requireTool(t, 'systemd-analyze', 'systemd');
    if (analyze === undefined) return;
    const path = join(folder, name.replace('@.', '@one.'));
    const args = ['security', '--offline=yes', '--no-pager', `--threshold=${MAX_EXPOSURE}`, path];
    const { code, stdout, stderr } = await runTool(t, analyze, args);
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /Overall exposure level for .*: [01]\.\d/);
  });

  test(`${name}: not started again after an exit that would only repeat itself`, () => {
    const hopeless = [exitOf('VERSION_UNSUPPORTED'), exitOf('TOKEN_REJECTED'), exitOf('CONFIG_INVALID')].join(' ');
    assert.equal(/^RestartPreventExitStatus=(.*)$/m.exec(textOf(name))?.[1], hopeless);
  });
}

test('one client and one of many are the same service in other places', () => {
  const body = (name: string) => textOf(name).slice(textOf(name).indexOf('[Unit]'));
  const many = body('sallyport-tunnel@.service').replaceAll('-%i', '').replace(' %i', '');
  assert.equal(many, body('sallyport-tunnel.service'));
});
