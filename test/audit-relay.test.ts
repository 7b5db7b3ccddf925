/** What a relay and the verbs of an operator leave in the audit log, and what `relay audit` says of it. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as path from 'node:path';
import test from 'node:test';
import { runAuditShow, runAuditVerify } from '../relay-server/audit-command.js';
import { auditRecords } from '../relay-server/ops/audit/audit-read.js';
import { verifyAudit } from '../relay-server/ops/audit/audit-verify.js';
import { runTokenCreate, runTokenRevoke, runTokenRotate } from '../relay-server/token-command.js';
import { generateToken } from '../shared/token.js';
import { recordingIo } from './support/recording-io.js';
import { until } from './support/within.js';
import { RELAY_PROGRAM, RelayHome, RunningProgram, startRelayProcess } from './support/world.js';

const TUNNEL = '{ name: app, host: app.relay.localhost, origin: "http://127.0.0.1:1" }';
const FOREIGN = '{ name: far, host: far.example.com, origin: "http://127.0.0.1:1" }';

/** Records so far, newest last. */
function recordsOf(home: RelayHome) {
  return auditRecords(home.config.auditLog.folder, 1_000).then((records) => records.map(({ facts }) => facts));
}

function recorded(home: RelayHome, event: string): Promise<Readonly<Record<string, unknown>>> {
  return until(event, async () => (await recordsOf(home)).find((record) => record.event === event));
}

test('logins, refusals, certificates, reloads and the end of a relay are recorded', async (t) => {
  const home = new RelayHome(t);
  const relay = await home.start(t);
  await relay.client(t, [TUNNEL, FOREIGN], { noWait: true });
  const used = await recorded(home, 'token-used');
  assert.deepEqual([used.by, used.tokenName, used.client], ['relay', 'home', '127.0.0.1']);
  const denied = await recorded(home, 'claim-denied');
  assert.deepEqual([denied.tokenName, denied.public, denied.code], ['home', 'far.example.com', 'NOT_GRANTED']);
  await relay.client(t, [TUNNEL], { noWait: true, clientId: 'stranger', token: generateToken().text });
  const failed = await recorded(home, 'login-failed');
  assert.deepEqual([failed.client, failed.code], ['127.0.0.1', 'TOKEN_REJECTED']);
  await relay.relay.reload({ ...home.config, drainMs: 1 });
  assert.deepEqual((await recorded(home, 'config-reloaded')).applied, ['drain_timeout']);
  await relay.relay.close();
  const records = await recordsOf(home);
  assert.deepEqual([records[0]?.event, records.at(-1)?.event], ['certificate-issued', 'relay-stopped']);
  assert.ok(records.some(({ event, issuer }) => event === 'certificate-issued' && issuer === 'local-ca'));
  assert.equal((await verifyAudit(home.config.auditLog.folder)).broken, undefined);
  const text = fs.readFileSync(path.join(home.config.auditLog.folder, 'audit-00000001.jsonl'), 'utf8');
  assert.ok(!text.includes(home.token.reveal()));
});

test('verbs add what they did and who did it, and the secret stays out', async (t) => {
  const home = new RelayHome(t);
  const io = recordingIo();
  const config = home.configFile;
  await runTokenCreate('laptop', { config, host: ['a.example.com'], tcpPort: ['2222'], json: true }, io);
  await runTokenRotate('laptop', { config, json: true }, io);
  await runTokenRevoke('laptop', { config }, io);
  const records = await recordsOf(home);
  assert.deepEqual(
    records.map(({ event, tokenName }) => [event, tokenName]),
    [
      ['token-created', 'laptop'],
      ['token-rotated', 'laptop'],
      ['token-revoked', 'laptop'],
    ],
  );
  assert.equal(records[0]?.grants, 'a.example.com tcp:2222');
  assert.ok(records.every(({ by }) => typeof by === 'string' && by !== 'relay'));
  for (const line of io.printed) {
    const seed = JSON.parse(line).token.split('.')[2];
    assert.ok(seed.length > 20 && !JSON.stringify(records).includes(seed));
  }
});

test('relay audit verify prints the newest record, which it finds again later, and fails with 65 on an edited file', async (t) => {
  const home = new RelayHome(t);
  const config = home.configFile;
  const io = recordingIo();
  fs.mkdirSync(home.config.auditLog.folder, { mode: 0o700 });
  await runAuditVerify({ config }, io);
  assert.deepEqual(io.printed, ['The audit log is empty.']);
  await runTokenRevoke('home', { config }, io);
  await runAuditVerify({ config }, io);
  assert.match(io.printed[1] ?? '', /whole: 1 records, 1 to 1/);
  const [, contains] = /^Newest: (1:[0-9a-f]{64})$/.exec(io.printed[2] ?? '') ?? [];
  const file = path.join(home.config.auditLog.folder, 'audit-00000001.jsonl');
  await runAuditShow({ config }, io);
  assert.match(io.printed[3] ?? '', /^\S+Z token-revoked by=.* tokenName=home$/);
  await runAuditVerify({ config, contains: contains ?? '' }, io);
  await assert.rejects(runAuditVerify({ config, contains: `1:${'0'.repeat(64)}` }, io), { code: 'AUDIT_BROKEN' });
  await assert.rejects(runAuditVerify({ config, contains: 'x' }, io), { code: 'USAGE_INVALID' });
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('revoked', 'created'));
  const program = new RunningProgram(t, RELAY_PROGRAM, ['audit', 'verify', '--config', config]);
  assert.match(await program.line('broken'), /audit-00000001\.jsonl:1: it is no record/);
  assert.equal(await program.exited, 65);
});

test('kill -9 of a relay breaks no chain, and a refused reload is recorded', async (t) => {
  const home = new RelayHome(t);
  const first = await startRelayProcess(t, home);
  await recorded(home, 'relay-started');
  fs.appendFileSync(home.configFile, 'nonsense: 1\n');
  first.program.child.kill('SIGHUP');
  assert.equal((await recorded(home, 'config-refused')).code, 'CONFIG_INVALID');
  await first.program.kill();
  const { broken, records } = await verifyAudit(home.config.auditLog.folder);
  assert.equal(broken, undefined);
  assert.ok(records >= 3);
});
