/** `relay admin-token create`, and what is said of an admin token that the relay cannot use. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chownSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { runAdminTokenCreate } from '../relay-server/admin-token-command.js';
import { runCheck } from '../relay-server/check-command.js';
import { runDoctor } from '../relay-server/doctor-command.js';
import { readAdminToken } from '../relay-server/ops/admin-token.js';
import type { Report } from '../shared/doctor/check.js';
import { recordingIo } from './support/recording-io.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';
import { watchedLog } from './support/watched-log.js';
import { RelayHome } from './support/world.js';

/** Somebody else than root, who need not exist. */
const OTHER_USER = 54_321;

test('a new admin token is in the state folder, for the relay alone, and printed nowhere', async (t) => {
  const home = new RelayHome(t);
  const { stateDir } = home.config;
  const io = recordingIo();
  await runAdminTokenCreate({ config: home.configFile }, io);
  const file = join(stateDir, 'admin-token');
  assert.deepEqual([io.printed, modeOf(file)], [[file], '600']);
  const token = readAdminToken(stateDir)?.reveal() ?? '';
  assert.match(token, /^[0-9a-f]{64}$/);
  assert.ok(![...io.printed, ...io.noted].join('\n').includes(token));
  await assert.rejects(runAdminTokenCreate({ config: home.configFile }, io), {
    code: 'USAGE_INVALID',
    message: /--force/,
  });
  assert.equal(readAdminToken(stateDir)?.reveal(), token);
  await runAdminTokenCreate({ config: home.configFile, force: true }, io);
  assert.notEqual(readAdminToken(stateDir)?.reveal(), token);
  assert.match(readFileSync(join(stateDir, 'audit', 'audit-00000001.jsonl'), 'utf8'), /admin-token-created/);
});

test('without a state folder no admin token is made', async (t) => {
  const config = join(temporaryFolder(t), 'relay.yaml');
  writeFileSync(config, 'domain: example.com\nstate_dir: state\n');
  await assert.rejects(runAdminTokenCreate({ config }, recordingIo()), { message: /state does not exist/ });
});

test('made by root, it belongs to the relay; one that does not is named by check and doctor', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('only root can give files away');
  const folder = temporaryFolder(t);
  const config = join(folder, 'relay.yaml');
  const stateDir = join(folder, 'state');
  writeFileSync(config, 'domain: localhost\nstate_dir: state\nlisten: { https: "127.0.0.1:1", http: off }\n');
  mkdirSync(stateDir, { mode: 0o700 });
  chownSync(stateDir, OTHER_USER, OTHER_USER);
  await runAdminTokenCreate({ config }, recordingIo());
  const file = join(stateDir, 'admin-token');
  assert.equal(statSync(file).uid, OTHER_USER);
  const warnings = () => {
    const io = recordingIo();
    runCheck({ config }, io);
    return io.noted.filter((line) => line.includes('admin-token'));
  };
  assert.deepEqual(warnings(), []);
  chownSync(file, 0, 0);
  assert.match(warnings().join('\n'), /belongs to user 0, and the relay runs as user 54321.*create --force/);
  const io = recordingIo();
  await runDoctor({ config, json: true }, io);
  const { checks } = JSON.parse(io.printed.join('')) as Report;
  const found = checks.find(({ check }) => check === 'admin token');
  assert.deepEqual([found?.state, found?.cure], ['FAIL', 'Do: relay admin-token create --force']);
  return undefined;
});

test('an admin-token beside relay.yaml is warned of', (t) => {
  const home = new RelayHome(t);
  writeFileSync(join(home.configFile, '..', 'admin-token'), 'a-long-admin-token', { mode: 0o600 });
  const io = recordingIo();
  runCheck({ config: home.configFile }, io);
  assert.match(io.noted.join('\n'), /Warning: .*admin-token counts for nothing: move it to .*state\/admin-token/);
});

test('a running relay says once in its log why nobody gets in', async (t) => {
  const { log, lines } = watchedLog();
  const home = new RelayHome(t, { log });
  const relay = await home.start(t);
  writeFileSync(join(home.config.stateDir, 'admin-token'), 'a-long-admin-token', { mode: 0o644 });
  const ask = async () => {
    const asked = request({ host: '127.0.0.1', port: relay.port('admin'), path: '/api/v1/status', agent: false }).end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    response.resume();
    return response.statusCode;
  };
  assert.deepEqual([await ask(), await ask()], [500, 500]);
  const said = lines.filter((line) => line.includes('admin listener answers nobody'));
  assert.equal(said.length, 1);
  assert.match(said[0] ?? '', /chmod 600 .*admin-token/);
});
