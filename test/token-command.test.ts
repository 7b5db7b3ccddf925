/** `relay init` and `relay token …`: what the operator types, what is made, what is printed where. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import test, { type TestContext } from 'node:test';
import { Command } from 'commander';
import { addInitCommand } from '../relay-server/init-command.js';
import { readRelayConfig } from '../relay-server/relay-config.js';
import { TokenStore } from '../relay-server/sessions/token-store.js';
import { addTokenCommands } from '../relay-server/token-command.js';
import { type JoinLine, parseJoinLine } from '../shared/command/join-line.js';
import { parseToken } from '../shared/token.js';
import { type RecordingIo, recordingIo } from './support/recording-io.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';

/** Runs `relay` with these arguments. */
async function relay(...args: string[]): Promise<RecordingIo> {
  const io = recordingIo();
  const program = new Command('relay').exitOverride().configureOutput({ writeErr: () => {} });
  addInitCommand(program, io);
  addTokenCommands(program, io);
  await program.parseAsync(args, { from: 'user' });
  return io;
}

/** A relay made by `relay init`, and its `--config` flag. */
async function initialised(t: TestContext) {
  const folder = path.join(temporaryFolder(t), 'relay');
  const io = await relay('init', '--domain', 'example.com', '--dir', folder);
  const file = path.join(folder, 'relay.yaml');
  return { folder, io, file, config: ['--config', file], store: TokenStore.open(path.join(folder, 'state')) };
}

/** The join line in the one line that a verb printed. */
function joinLineIn(io: RecordingIo): JoinLine {
  assert.equal(io.printed.length, 1);
  const [, line = assert.fail(io.printed[0])] = /^tunnel join '(.*)'$/.exec(io.printed[0] ?? '') ?? [];
  return parseJoinLine(line);
}

/** The seed of a token must stand on stdout alone. */
function assertNotNoted(io: RecordingIo, line: JoinLine): void {
  const seed = line.token.reveal().split('.')[2] ?? assert.fail('no seed');
  assert.ok(!io.noted.join('\n').includes(seed), 'a secret is on stderr');
}

test('init makes a config that the relay reads, a private state folder, a CA and the token home', async (t) => {
  const { folder, file, store } = await initialised(t);
  const config = readRelayConfig(file);
  assert.deepEqual([config.domain, config.stateDir], ['example.com', path.join(folder, 'state')]);
  assert.deepEqual([config.listen.https.port, config.tls.mode], [443, 'local-ca']);
  assert.deepEqual([modeOf(path.join(folder, 'state')), modeOf(file)], ['700', '600']);
  assert.equal(modeOf(path.join(folder, 'state', 'local-ca', 'ca-key.pem')), '600');
  const [token, ...others] = store.list();
  assert.deepEqual([token?.name, token?.grants, others], ['home', { hosts: ['*.example.com'], tcpPorts: [] }, []]);
});

test('init prints the command for home on stdout alone, with the token and the CA in it', async (t) => {
  const { folder, io, store } = await initialised(t);
  const line = joinLineIn(io);
  assert.deepEqual([line.relayUrl, line.address], ['https://example.com', undefined]);
  assert.equal(parseToken(line.token).id, store.list()[0]?.id);
  const ca = new X509Certificate(fs.readFileSync(path.join(folder, 'state', 'local-ca', 'ca.pem')));
  assert.deepEqual(line.ca, ca.raw);
  assertNotNoted(io, line);
  assert.match(io.noted.join('\n'), /relay serve --config .*relay\.yaml/);
});

test('init never touches a relay.yaml that is there', async (t) => {
  const { folder, file, store } = await initialised(t);
  const before = [fs.readFileSync(file, 'utf8'), store.list()];
  const again = relay('init', '--domain', 'other.example', '--dir', folder);
  await assert.rejects(again, { code: 'USAGE_INVALID', message: /it exists already.*relay token create/ });
  assert.deepEqual([fs.readFileSync(file, 'utf8'), store.list()], before);
});

test('init keeps an e-mail address for later and refuses what is none', async (t) => {
  const folder = temporaryFolder(t);
  for (const [flag, value] of [
    ['--email', 'me'],
    ['--email', 'a"b@c'],
    ['--domain', 'not a name'],
    ['--domain', '*.example.com'],
  ]) {
    const args = ['init', '--domain', 'example.com', '--dir', folder, `${flag}=${value}`];
    await assert.rejects(relay(...args), { code: 'USAGE_INVALID' }, value);
  }
  assert.deepEqual(fs.readdirSync(folder), []);
  await relay('init', '--domain', 'Example.COM.', '--email', 'me@example.com', '--dir', folder);
  assert.match(fs.readFileSync(path.join(folder, 'relay.yaml'), 'utf8'), /email: "me@example\.com"/);
  assert.equal(readRelayConfig(path.join(folder, 'relay.yaml')).domain, 'example.com');
});

test('init with an e-mail address, or --acme, makes a relay with public certificates', async (t) => {
  for (const flags of [['--email', 'me@example.com'], ['--acme']]) {
    const folder = temporaryFolder(t);
    const io = await relay('init', '--domain', 'example.com', ...flags, '--dir', folder);
    const { tls, acme, hsts } = readRelayConfig(path.join(folder, 'relay.yaml'));
    assert.deepEqual([tls.mode, acme.authorities[0].email, hsts], ['acme', flags[1], true]);
    assert.equal(acme.authorities[0].directoryUrl, 'https://acme-v02.api.letsencrypt.org/directory');
    assert.equal(joinLineIn(io).ca, undefined, 'a public CA is known at home');
    assert.equal(fs.existsSync(path.join(folder, 'state', 'local-ca')), false);
    assert.match(io.noted.join('\n'), /open ports 443 and 80[\s\S]*relay cert list --config .*relay\.yaml$/m);
  }
});

test('create makes a token with its grants and end, and prints the command for home', async (t) => {
  const { config, store } = await initialised(t);
  const startMs = Date.now();
  const flags = ['--host', 'App.example.com', '--host', '*.home.example.com', '--tcp-port', '2222', '--expires', '90d'];
  const io = await relay('token', 'create', 'nas', ...flags, ...config);
  const record = store.list().find(({ name }) => name === 'nas') ?? assert.fail('no token');
  const hosts = ['app.example.com', '*.home.example.com'];
  assert.deepEqual(record.grants, { hosts, tcpPorts: ['2222'] });
  const lifeMs = (record.expiresAtMs ?? 0) - startMs;
  assert.ok(lifeMs >= 90 * 86_400_000 && lifeMs < 90 * 86_400_000 + 60_000);
  assert.equal(parseToken(joinLineIn(io).token).id, record.id);
  assertNotNoted(io, joinLineIn(io));
});

test('create --json prints one object with name, token and join, and nothing else anywhere', async (t) => {
  const { config } = await initialised(t);
  const io = await relay('token', 'create', 'nas', '--host', 'app.example.com', '--json', ...config);
  assert.equal(io.printed.length, 1);
  const printed = JSON.parse(io.printed[0] ?? '');
  assert.deepEqual(Object.keys(printed), ['name', 'token', 'join']);
  assert.equal(printed.name, 'nas');
  assert.equal(parseJoinLine(printed.join).token.reveal(), printed.token);
  assert.deepEqual(io.noted, []);
});

test('create refuses what makes no sense, and makes nothing', async (t) => {
  const { config, store } = await initialised(t);
  const cases: [string[], RegExp][] = [
    [['nas'], /it could serve nothing.*--host/],
    [['home', '--host', 'a.example.com'], /exists already/],
    [['NAS', '--host', 'a.example.com'], /Cannot use token name/],
    [['nas', '--host', '*.com'], /host must be/],
    [['nas', '--tcp-port', '70000'], /TCP port must be/],
    [['nas', '--host', 'a.example.com', '--expires', '90'], /--expires must be a duration/],
  ];
  for (const [args, message] of cases) {
    await assert.rejects(relay('token', 'create', ...args, ...config), { code: 'USAGE_INVALID', message });
  }
  assert.deepEqual(
    store.list().map(({ name }) => name),
    ['home'],
  );
});

test('the join line has the public port, and no CA when the relay has real certificates', async (t) => {
  const { folder, file, config } = await initialised(t);
  const certificates = 'certificates: [{ cert_file: a.pem, key_file: a.key }]';
  const text = fs.readFileSync(file, 'utf8').replace('mode: local-ca', `${certificates}\n  mode: files`);
  fs.writeFileSync(file, text.replace(':443', ':8443'));
  fs.rmSync(path.join(folder, 'state', 'local-ca'), { recursive: true });
  const line = joinLineIn(await relay('token', 'create', 'nas', '--host', 'a.example.com', ...config));
  assert.deepEqual([line.relayUrl, line.ca], ['https://example.com:8443', undefined]);
  assert.equal(fs.existsSync(path.join(folder, 'state', 'local-ca')), false);
});

test('a token made before the first start of a relay already carries the CA', async (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, 'relay.yaml');
  fs.writeFileSync(file, 'domain: example.com\nstate_dir: state\n');
  const line = joinLineIn(await relay('token', 'create', 'nas', '--host', 'a.example.com', '--config', file));
  assert.deepEqual(line.ca, new X509Certificate(fs.readFileSync(path.join(folder, 'state', 'local-ca', 'ca.pem'))).raw);
});

test('list shows every token as a table or as JSON, without any secret', async (t) => {
  const { config, store } = await initialised(t);
  store.create('old', { hosts: ['old.example.com'], tcpPorts: ['22', '30-40'] }, Date.UTC(2020, 0, 1));
  const table = (await relay('token', 'list', ...config)).printed;
  assert.match(table[0] ?? '', /^NAME +CREATED +LAST USED +ENDS +MAY SERVE$/);
  assert.match(table[1] ?? '', /^home +\S+ +not this week +never +\*\.example\.com$/);
  assert.match(table[2] ?? '', /^old +\S+ +not this week +2020-01-01 \(over\) +old\.example\.com tcp:22 tcp:30-40$/);
  const json = JSON.parse((await relay('token', 'list', '--json', ...config)).printed.join('\n'));
  const [home, old] = store.list();
  assert.deepEqual(json[1], {
    name: 'old',
    id: old?.id,
    hosts: ['old.example.com'],
    tcpPorts: ['22', '30-40'],
    createdAt: new Date(old?.createdAtMs ?? 0).toISOString(),
    expiresAt: '2020-01-01T00:00:00.000Z',
    expired: true,
    lastUsedAt: null,
  });
  assert.deepEqual([json[0].id, json[0].expiresAt, json[0].expired], [home?.id, null, false]);
});

test('an empty list says how to make a token, and is an empty array as JSON', async (t) => {
  const { config, store } = await initialised(t);
  store.revoke('home');
  const io = await relay('token', 'list', ...config);
  assert.deepEqual(io.printed, []);
  assert.match(io.noted.join(), /relay token create NAME/);
  assert.deepEqual((await relay('token', 'list', '--json', ...config)).printed, ['[]']);
});

test('what is said to be typed next is what the token grants, and names the services', async (t) => {
  const { io: made, config } = await initialised(t);
  assert.match(made.noted.join('\n'), /relay service install[\s\S]*tunnel up 3000 --host app\.example\.com$/);
  const hints: [string[], RegExp][] = [
    [['--host', 'one.example.com', '--tcp-port', '19222'], /tunnel up 3000 --host one\.example\.com$/],
    [['--tcp-port', '2200-2299'], /tunnel up tcp:\/\/127\.0\.0\.1:22 --tcp-port 2200$/],
  ];
  for (const [index, [flags, hint]] of hints.entries()) {
    const io = await relay('token', 'create', `t${index}`, ...flags, ...config);
    assert.match(io.noted.join('\n'), hint);
  }
  const rotated = await relay('token', 'rotate', 'home', ...config);
  assert.match(rotated.noted.join('\n'), /sudo systemctl restart sallyport-tunnel$/);
});

test('rotate prints a new join line and the old token is gone; revoke removes it', async (t) => {
  const { io: first, config, store } = await initialised(t);
  const io = await relay('token', 'rotate', 'home', ...config);
  const [old, now] = [first, io].map((each) => parseToken(joinLineIn(each).token).id);
  assert.notEqual(now, old);
  assert.deepEqual(
    store.list().map(({ id }) => id),
    [now],
  );
  assertNotNoted(io, joinLineIn(io));
  await relay('token', 'revoke', 'home', ...config);
  assert.deepEqual(store.list(), []);
  for (const verb of ['rotate', 'revoke']) {
    await assert.rejects(relay('token', verb, 'home', ...config), { code: 'USAGE_INVALID', message: /there is none/ });
  }
});

test('without --config a verb takes relay.yaml of the current folder, and says what to do when there is none', async (t) => {
  const { folder } = await initialised(t);
  const before = process.cwd();
  t.after(() => process.chdir(before));
  process.chdir(folder);
  assert.equal((await relay('token', 'list')).printed.length, 2);
  process.chdir(path.join(folder, 'state'));
  if (['/var/lib', '/etc'].some((place) => fs.existsSync(`${place}/sallyport/relay.yaml`))) return;
  await assert.rejects(relay('token', 'list'), {
    code: 'CONFIG_INVALID',
    message: /var\/lib\/sallyport.*relay init --domain/,
  });
});

test('a relay.yaml of init may hold a secret, and belongs to the owner of its folder', async (t) => {
  const { file } = await initialised(t);
  fs.appendFileSync(file, 'alerts: { webhook_url: "https://hooks.example.net/secret" }\n');
  assert.equal(readRelayConfig(file).alerts.webhookUrl?.reveal(), 'https://hooks.example.net/secret');
  if (process.getuid?.() !== 0) return;
  const folder = temporaryFolder(t);
  fs.chownSync(folder, 54_321, 54_321);
  await relay('init', '--domain', 'example.com', '--dir', folder);
  const owners = [file, ...fs.readdirSync(folder).map((name) => path.join(folder, name))].slice(1);
  assert.deepEqual(
    owners.map((place) => fs.statSync(place).uid),
    owners.map(() => 54_321),
  );
});
