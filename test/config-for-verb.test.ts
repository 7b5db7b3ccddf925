/** Verbs that an operator needs at once go on with a typo in relay.yaml, unless it touches what they need. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { runAuditShow, runAuditVerify } from '../relay-server/audit-command.js';
import { runCertList } from '../relay-server/cert-command.js';
import { runCheck } from '../relay-server/check-command.js';
import { runHostList } from '../relay-server/host-command.js';
import { makeGrants } from '../relay-server/sessions/grants.js';
import { TokenStore } from '../relay-server/sessions/token-store.js';
import { runStatus } from '../relay-server/status-command.js';
import { runTokenList, runTokenRevoke } from '../relay-server/token-command.js';
import { recordingIo } from './support/recording-io.js';
import { temporaryFolder } from './support/temporary-folder.js';

const FILE = ['domain: example.com', 'state_dir: state', 'listen: { https: "127.0.0.1:1", http: off, admin: off }'];
const TYPO = 'Warning: relay.yaml:4: limit is not a known key. Did you mean limits?';

function relayWith(t: TestContext, ...lines: string[]) {
  const folder = temporaryFolder(t);
  const config = join(folder, 'relay.yaml');
  writeFileSync(config, `${lines.join('\n')}\n`);
  const stateDir = join(folder, 'state');
  mkdirSync(stateDir, { mode: 0o700 });
  TokenStore.open(stateDir).create('home', makeGrants(['*.example.com'], []));
  return { config, stateDir };
}

test('a typo elsewhere in relay.yaml is a warning to the verbs that need the state folder', async (t) => {
  const { config, stateDir } = relayWith(t, ...FILE, 'limit: {}');
  const io = recordingIo();
  await runTokenRevoke('home', { config }, io);
  assert.deepEqual(TokenStore.read(stateDir), []);
  const verbs = [
    () => runTokenList({ config, json: true }, io),
    () => runHostList({ config, json: true }, io),
    () => runCertList({ config, json: true }, io),
    () => runAuditVerify({ config }, io),
    () => runAuditShow({ config }, io),
  ];
  for (const verb of verbs) await verb();
  // It has come as far as asking: there is no relay.
  await assert.rejects(runStatus({ config }, io), { code: 'LINK_LOST' });
  assert.equal(io.noted.filter((line) => line === TYPO).length, 1 + verbs.length + 1, io.noted.join('\n'));
  assert.throws(() => runCheck({ config }, recordingIo()), { code: 'CONFIG_INVALID' });
});

test('a mistake that touches what a verb needs ends it', async (t) => {
  const [domain = '', state = '', listen = ''] = FILE;
  const files = [
    [domain, 'state_dir: [state]', listen],
    [domain, state, state, listen],
    [domain, 'state_dri: state', listen],
    [domain, listen, 'limit: {}'],
    [domain, state, listen, 'audit_log: { folde: elsewhere }'],
    [domain, state, listen, 'audit_logs: { folder: elsewhere }'],
    [domain, state, listen, 'audit_log: []'],
    [domain, state, listen, 'limits: {'],
    [`- ${domain}`],
  ];
  for (const lines of files) {
    const { config, stateDir } = relayWith(t, ...lines);
    await assert.rejects(runTokenRevoke('home', { config }, recordingIo()), { code: 'CONFIG_INVALID' }, lines.join());
    assert.equal(TokenStore.read(stateDir).length, 1);
  }
});

test('a mistake in the section of the audit log does not hide the tokens', (t) => {
  const { config } = relayWith(t, ...FILE, 'audit_log: { folde: elsewhere }');
  const io = recordingIo();
  runTokenList({ config }, io);
  assert.match(io.printed.join('\n'), /home/);
});

test('check and token list write nothing, and check says that there is no state folder yet', (t) => {
  const folder = temporaryFolder(t);
  const config = join(folder, 'relay.yaml');
  writeFileSync(config, `${FILE.join('\n')}\n`);
  const io = recordingIo();
  runCheck({ config }, io);
  runTokenList({ config }, io);
  assert.deepEqual(readdirSync(folder), ['relay.yaml']);
  assert.match(io.noted.join('\n'), /state does not exist yet/);
  mkdirSync(join(folder, 'state'), { mode: 0o700 });
  runCheck({ config }, io);
  assert.match(io.noted.join('\n'), /no client can log in yet: relay token create/);
  assert.ok(!existsSync(join(folder, 'state', 'tokens')));
  TokenStore.open(join(folder, 'state')).create('home', makeGrants(['*.example.com'], []));
  runCheck({ config }, io);
  assert.match(io.printed.at(-1) ?? '', /, 1 token\)$/);
});
