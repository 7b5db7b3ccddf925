/** A running client follows its tunnel.yaml: only what changed is claimed or given back, and a broken file changes nothing. */
import assert from 'node:assert/strict';
import { readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { runStatus } from '../tunnel-client/status-command.js';
import { Origin } from './support/fault-origin.js';
import { ask, type Site, VisitorConnection } from './support/fault-visitor.js';
import { recordingIo } from './support/recording-io.js';
import { statusUntil } from './support/relay-probe.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { until } from './support/within.js';
import { RelayHome, RunningProgram, startRelayProcess, TUNNEL_PROGRAM, writeTunnelConfig } from './support/world.js';

interface World {
  readonly admin: number;
  readonly client: RunningProgram;
  readonly file: string;
  readonly text: string;
  readonly origin: Origin;
  readonly other: Origin;
  readonly site: (name: string) => Site;
  /** What `tunnel status` prints. */
  readonly status: () => Promise<string>;
}

/** Answers each path with its own name; `/slow` begins and goes on for ever. */
function originNamed(t: TestContext, name: string): Promise<Origin> {
  return Origin.listen(
    t,
    createServer((request, response) => {
      if (request.url === '/slow') response.writeHead(200).write('beginning ');
      else response.end(name);
    }),
  );
}

async function makeWorld(t: TestContext): Promise<World> {
  const [origin, other] = await Promise.all([originNamed(t, 'origin'), originNamed(t, 'other')]);
  const home = new RelayHome(t);
  const { https, admin } = await startRelayProcess(t, home);
  const file = writeTunnelConfig(temporaryFolder(t), https, home, [origin.tunnel('one'), origin.tunnel('two')]);
  const runtime = temporaryFolder(t);
  const env = { XDG_RUNTIME_DIR: runtime };
  const client = new RunningProgram(t, TUNNEL_PROGRAM, ['up', '--json', '--config', file], env);
  await statusUntil(admin, ({ tunnels }) => tunnels.length === 2);
  const site = (name: string) => ({ host: `${name}.relay.localhost`, port: https, ca: home.ca });
  const status = async () => {
    const io = recordingIo();
    await runStatus({ folder: join(runtime, 'sallyport') }, io);
    return io.printed.join('\n');
  };
  return { status, admin, client, file, text: readFileSync(file, 'utf8'), origin, other, site };
}

/** The `count`th line that says so. */
function said(client: RunningProgram, text: string, count = 1): Promise<string> {
  return until(text, () => client.lines.filter((line) => line.includes(text))[count - 1]);
}

async function bodyOf(site: Site): Promise<string> {
  return (await ask(site)).body;
}

describe('tunnel.yaml under a running client', { concurrency: 3 }, () => {
  test('what is new is claimed, what has gone is given back, and everybody else keeps even a running response', async (t) => {
    const { admin, client, file, text, origin, site } = await makeWorld(t);
    const visitor = await VisitorConnection.open(t, site('one'));
    visitor.get(site('one'), '/slow');
    await visitor.received('beginning');
    writeFileSync(file, text.replace(origin.tunnel('two'), origin.tunnel('three')));
    await said(client, '"event":"reloaded"');
    await statusUntil(
      admin,
      ({ tunnels }) =>
        tunnels
          .map(({ name }) => name)
          .sort()
          .join() === 'one,three',
    );
    assert.equal(await bodyOf(site('three')), 'origin');
    assert.equal((await ask(site('two'))).headers['x-sallyport-error'], 'TUNNEL_OFFLINE');
    assert.equal(visitor.socket.destroyed, false);
    // The one that stayed was never down: it came up once.
    assert.equal(client.lines.filter((line) => /"event":"up".*"one"/.test(line)).length, 1);
    assert.ok(client.lines.some((line) => /"event":"down".*"two"/.test(line)));
    assert.deepEqual(
      client.lines.filter((line) => line.includes('"event":"reconnecting"')),
      [],
    );
  });

  test('another origin counts for the next request; the relay hears nothing of it', async (t) => {
    const { client, file, text, origin, other, site } = await makeWorld(t);
    assert.equal(await bodyOf(site('one')), 'origin');
    writeFileSync(file, text.replace(`:${origin.port}`, `:${other.port}`));
    client.child.kill('SIGHUP');
    await said(client, '"event":"reloaded"');
    assert.equal(await bodyOf(site('one')), 'other');
    assert.equal(await bodyOf(site('two')), 'origin');
    assert.equal(client.lines.filter((line) => line.includes('"event":"up"')).length, 2);
  });

  test('two tunnels swap their hostnames', async (t) => {
    const { client, file, text, origin, other, site } = await makeWorld(t);
    writeFileSync(
      file,
      text.replace(origin.tunnel('two'), origin.tunnel('two').replace(`:${origin.port}`, `:${other.port}`)),
    );
    client.child.kill('SIGHUP');
    await said(client, '"event":"reloaded"');
    assert.deepEqual([await bodyOf(site('one')), await bodyOf(site('two'))], ['origin', 'other']);
    const swapped = readFileSync(file, 'utf8')
      .replace('host: one.', 'host: was-one.')
      .replace('host: two.', 'host: one.')
      .replace('host: was-one.', 'host: two.');
    writeFileSync(file, swapped);
    client.child.kill('SIGHUP');
    await said(client, '"event":"reloaded"', 2);
    await said(client, '"event":"up"', 4);
    assert.deepEqual([await bodyOf(site('one')), await bodyOf(site('two'))], ['other', 'origin']);
  });

  test('a broken file changes nothing and says where it is broken; a fixed one counts', async (t) => {
    const { client, file, text, origin, site, status } = await makeWorld(t);
    for (const [broken, says] of [
      [`${text}nonsense: 1\n`, 'nonsense'],
      [text.replace(/tunnels:[\s\S]*/, 'tunnels: []\n'), 'the file lists none'],
      [`${text}  - { name: three, host: `, 'not indented like its neighbours'],
    ] as const) {
      writeFileSync(file, broken);
      client.child.kill('SIGHUP');
      await said(client, says);
    }
    assert.deepEqual([await bodyOf(site('one')), await bodyOf(site('two'))], ['origin', 'origin']);
    assert.deepEqual(
      client.lines.filter((line) => /"event":"(?:down|reloaded)"/.test(line)),
      [],
    );
    assert.match(await status(), /\n {2}tunnel\.yaml was not taken over: .*not indented like its neighbours/);
    unlinkSync(file);
    assert.match(await said(client, 'it is gone'), /config file not taken over/);
    assert.match(await status(), /\n {2}tunnel\.yaml was not taken over: Cannot read \S+: it is gone/);
    writeFileSync(file, `${text}  - ${origin.tunnel('three')}\nlinks: 1\n`);
    client.child.kill('SIGHUP');
    assert.match(await said(client, 'count after a restart only'), /"waiting":\["links"\]/);
    await said(client, '"event":"up"', 3);
    assert.equal(await bodyOf(site('three')), 'origin');
    assert.doesNotMatch(await status(), /not taken over/);
    assert.match(await status(), /\n {2}These options of tunnel\.yaml count after a restart: links\n/);
  });
});
