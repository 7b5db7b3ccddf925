/** `tunnel up` off a terminal, as a service runs it: its two streams are read by one person. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { temporaryFolder } from './support/temporary-folder.js';
import { DOMAIN, RelayHome, RunningProgram, TUNNEL_PROGRAM, writeTunnelConfig } from './support/world.js';

test('each event is told once, and a stop that was asked for is no failure', async (t) => {
  const relay = await new RelayHome(t, { hosts: [`app.${DOMAIN}`] }).start(t);
  const tunnels = ['app', 'foreign'].map(
    (name) => `{ name: ${name}, host: ${name}.${DOMAIN}, origin: "http://[::1]:1" }`,
  );
  const file = writeTunnelConfig(temporaryFolder(t), relay.port('https'), relay.home, tunnels);
  const env = { XDG_RUNTIME_DIR: temporaryFolder(t) };
  const client = new RunningProgram(t, TUNNEL_PROGRAM, ['up', '--config', file], env);
  await Promise.all([client.line('app is up'), client.line('foreign was denied')]);
  await client.line('session began');
  client.child.kill('SIGTERM');
  await client.line('stopped');
  assert.equal(await client.exited, 0);
  const about = (pattern: RegExp) => client.lines.filter((line) => pattern.test(line)).length;
  assert.deepEqual([about(/app is up|tunnel up/), about(/denied/)], [1, 1]);
  assert.equal(about(/LINK_LOST/), 0, client.lines.join('\n'));
});
