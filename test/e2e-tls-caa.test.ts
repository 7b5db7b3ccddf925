/** The DNS records that keep everybody but the client from getting a certificate, as whoever starts the client sees them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { caNameOf } from '../shared/certs/account-store.js';
import { CAA_ADVICE } from '../tunnel-client/home/certificate-text.js';
import { acmeTunnel, acmeYaml, startAcmeHome } from './support/acme-home.js';
import { startAcmeProxy } from './support/acme-proxy.js';
import { VAULT } from './support/home-tls.js';
import { visitHome } from './support/home-visitor.js';
import { startHttpOrigin } from './support/origins.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool } from './support/tool-process.js';
import { until, within } from './support/within.js';
import { RunningProgram, startRelayProcess, TUNNEL_PROGRAM, writeTunnelConfig } from './support/world.js';

test('tunnel up prints the records once, below the first certificate; status and check whenever they are asked', {
  timeout: 60_000,
}, async (t) => {
  const world = await startAcmeHome(t);
  if (world === undefined) return;
  const { pebble, home, httpsPort, stateDir } = world;
  const { directoryUrl } = await startAcmeProxy(t, pebble, { caaIdentities: ['pebble.example'] });
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from home'));
  const relay = await startRelayProcess(t, home);
  const yaml = acmeYaml({ directoryUrl, caFile: pebble.caFile }, stateDir);
  const file = writeTunnelConfig(temporaryFolder(t), httpsPort, home, [acmeTunnel(origin.url)], {
    yaml,
    clientId: 'home',
  });
  const env = { XDG_RUNTIME_DIR: temporaryFolder(t) };
  const start = () => new RunningProgram(t, TUNNEL_PROGRAM, ['up', '--config', file], env);
  const adviceIn = ({ lines }: RunningProgram) =>
    lines.filter((line) => line.includes(' CAA ') || line.includes(CAA_ADVICE));

  const first = start();
  await within('records', first.line('issuewild'));
  const account = join(stateDir, 'accounts', caNameOf(directoryUrl), 'account.json');
  const { url } = JSON.parse(readFileSync(account, 'utf8'));
  assert.match(url, /^https:\/\/localhost:\d+\/my-account\/\w+$/);
  const records = [`${VAULT}. CAA 0 issue "pebble.example; accounturi=${url}"`, `${VAULT}. CAA 0 issuewild ";"`];
  assert.deepEqual(adviceIn(first), [CAA_ADVICE, ...records]);
  const above = first.lines[first.lines.indexOf(CAA_ADVICE) - 1];
  assert.match(above ?? '', /^vault has a certificate for vault\.relay\.localhost until /);

  const status = new RunningProgram(t, TUNNEL_PROGRAM, ['status'], env);
  assert.equal(await within('status', status.exited), 0);
  await status.line('issuewild');
  assert.deepEqual(adviceIn(status), [`  vault: ${CAA_ADVICE}`, ...records.map((record) => `    ${record}`)]);
  const { stdout } = await runTool(t, process.execPath, [TUNNEL_PROGRAM, 'check', '--config', file]);
  assert.ok(
    stdout.endsWith([`vault: ${CAA_ADVICE}`, ...records.map((record) => `  ${record}`), ''].join('\n')),
    stdout,
  );

  // Neither a new session nor a new start says them again.
  await relay.program.kill();
  await within('loss', first.line('reconnecting in'));
  await startRelayProcess(t, home);
  const ups = () => first.lines.filter((line) => line.startsWith('vault is up')).length;
  await until('new session', () => (ups() === 2 ? true : undefined));
  first.child.kill('SIGTERM');
  await within('end', first.exited);
  const second = start();
  await within('start', second.line('vault has a certificate'));
  assert.equal((await visitHome(httpsPort, await pebble.root())).body, 'from home');
  assert.deepEqual([adviceIn(first).length, adviceIn(second).length], [3, 0]);
});
