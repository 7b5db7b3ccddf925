/** Logs that could not be written: no relay starts or reloads with them, and no verb says that all is well. */
import assert from 'node:assert/strict';
import { chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runAuditVerify } from '../relay-server/audit-command.js';
import { runCheck } from '../relay-server/check-command.js';
import { Relay } from '../relay-server/relay.js';
import { parseRelayConfig } from '../relay-server/relay-config.js';
import { silentLog } from '../shared/log.js';
import { recordingIo } from './support/recording-io.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { RELAY_PROGRAM, RelayHome, RunningProgram } from './support/world.js';

/** Below a file nobody can make a folder, not even root. */
function placesBelowFile(folder: string): [option: string, yaml: string][] {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  return [
    ['access_log.file', `access_log: { to: file, file: ${file}/access.log }`],
    ['audit_log.folder', `audit_log: { folder: ${file}/audit }`],
  ];
}

test('serve ends with 78 when a log cannot be written, and names the option', async (t) => {
  for (const [option, yaml] of placesBelowFile(temporaryFolder(t))) {
    const home = new RelayHome(t, { yaml });
    const program = new RunningProgram(t, RELAY_PROGRAM, ['serve', '--config', home.configFile]);
    assert.equal(await program.exited, 78);
    assert.ok(
      program.lines.some((line) => line.includes(`Cannot write ${option}`)),
      program.lines.join('\n'),
    );
  }
});

test('a reload to a log that cannot be written is refused, and nothing has changed', async (t) => {
  const home = new RelayHome(t);
  const relay = await Relay.start(home.config, silentLog);
  t.after(() => relay.close());
  const listeners = JSON.stringify(relay.listeners);
  for (const [option, yaml] of placesBelowFile(temporaryFolder(t))) {
    const text = `domain: relay.localhost\nlisten: { https: "127.0.0.1:0", http: off, admin: off }\nstate_dir: state\n${yaml}\n`;
    const wanted = parseRelayConfig(text, home.configFile);
    await assert.rejects(relay.reload(wanted), {
      code: 'CONFIG_INVALID',
      message: new RegExp(`Cannot write ${option}`),
    });
    assert.equal(JSON.stringify(relay.listeners), listeners);
  }
});

test('the folders of logs are made when the relay starts', async (t) => {
  const folder = temporaryFolder(t);
  const yaml = `access_log: { to: file, file: ${folder}/access/access.log }\naudit_log: { folder: ${folder}/audit }`;
  await new RelayHome(t, { yaml }).start(t);
  assert.ok(existsSync(join(folder, 'access', 'access.log')) && existsSync(join(folder, 'audit')));
});

test('check warns of a log outside the state folder that does not exist or is not the relay’s', (t) => {
  const folder = temporaryFolder(t);
  const place = join(folder, 'logs');
  const home = new RelayHome(t, { yaml: `access_log: { to: file, file: ${place}/access.log }` });
  const notes = () => {
    const io = recordingIo();
    runCheck({ config: home.configFile }, io);
    return io.noted.join('\n');
  };
  assert.match(notes(), /Warning: access_log\.file is in .*logs, which does not exist/);
  mkdirSync(place);
  assert.equal(notes(), '');
  if (process.getuid?.() !== 0) return;
  chownSync(home.config.stateDir, 54_321, 54_321);
  assert.match(notes(), /belongs to user 0, not to user 54321/);
});

test('audit verify does not call a log whole that is not there', async (t) => {
  const home = new RelayHome(t);
  const { auditLog } = home.config;
  rmSync(auditLog.folder, { recursive: true, force: true });
  const verified = runAuditVerify({ config: home.configFile }, recordingIo());
  await assert.rejects(verified, { code: 'CONFIG_INVALID', message: /there is no folder/ });
  const off = new RelayHome(t, { yaml: 'audit_log: { enabled: false }' });
  const message = 'Cannot verify the audit log: audit_log.enabled is false.';
  await assert.rejects(runAuditVerify({ config: off.configFile }, recordingIo()), { message });
});
