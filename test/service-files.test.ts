/** What `service install` would do on each kind of machine, and what the processes of a service are given and say. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { ListenSockets, namedSockets } from '../shared/service/listen-sockets.js';
import { hindrancesOf } from '../shared/service/service-plan.js';
import { watchdogMs } from '../shared/service/service-watchdog.js';
import { requireTool } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool } from './support/tool-process.js';
import { RELAY_PROGRAM, TUNNEL_PROGRAM } from './support/world.js';

const folder = fileURLToPath(new URL('../../systemd/', import.meta.url));

const CASES: [program: 'relay' | 'tunnel', args: string[], says: RegExp[]][] = [
  [
    'relay',
    ['install', '--manager', 'systemd'],
    [
      /^# \/etc\/systemd\/system\/sallyport-relay\.service \(mode 644\):$/m,
      /^# \/etc\/systemd\/system\/sallyport-relay-http\.socket/m,
      /^FileDescriptorName=https$/m,
      /^systemctl enable --now sallyport-relay\.service$/m,
    ],
  ],
  [
    'relay',
    ['install', '--manager', 'systemd', '--config', '/srv/r.yaml'],
    [/^ExecStart=.* serve --config \/srv\/r\.yaml$/m],
  ],
  ['relay', ['uninstall', '--manager', 'systemd'], [/^systemctl disable --now sallyport-relay\.service .*\nrm /m]],
  ['relay', ['install', '--manager', 'openrc'], [/^rc-update add sallyport-relay default$/m]],
  [
    'relay',
    ['install', '--manager', 'launchd'],
    [/^launchctl bootstrap system \/Library\/LaunchDaemons\/sallyport\.relay\.plist$/m],
  ],
  [
    'tunnel',
    ['install', '--manager', 'systemd', '--instance', 'two'],
    [/^systemctl enable --now sallyport-tunnel@two\.service$/m],
  ],
  ['tunnel', ['install', '--manager', 'openrc'], [/exec .* up --config \/var\/lib\/sallyport-tunnel\/tunnel\.yaml/]],
  // Other instances live by the same unit.
  [
    'tunnel',
    ['uninstall', '--manager', 'systemd', '--instance', 'two'],
    [/^systemctl disable --now sallyport-tunnel@two\.service\nsystemctl daemon-reload\n$/],
  ],
];

for (const [program, args, says] of CASES) {
  test(`${program} service ${args.join(' ')} --dry-run prints what it would do, and does nothing`, async (t) => {
    const file = program === 'relay' ? RELAY_PROGRAM : TUNNEL_PROGRAM;
    const { code, stdout, stderr } = await runTool(t, process.execPath, [file, 'service', ...args, '--dry-run']);
    assert.equal(code, 0, stderr);
    for (const pattern of says) assert.match(stdout, pattern);
    assert.ok(!existsSync(`/etc/systemd/system/sallyport-${program}@.service`));
  });
}

test('the ports of the socket units are those of relay.yaml, and files that the unit cannot reach are named', async (t) => {
  const file = join(temporaryFolder(t), 'relay.yaml');
  writeFileSync(file, 'domain: example.com\nlisten: { https: ":8443", http: "127.0.0.1:8080" }\nstate_dir: state\n');
  const args = ['service', 'install', '--manager', 'systemd', '--dry-run', '--config'];
  const { code, stdout, stderr } = await runTool(t, process.execPath, [RELAY_PROGRAM, ...args, file]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(stdout.match(/^ListenStream=.*$/gm), ['ListenStream=8443', 'ListenStream=127.0.0.1:8080']);
  assert.match(stderr, /^Warning: the service cannot see .*relay\.yaml\. Move it to \/var\/lib\/sallyport\.$/m);
  assert.match(stderr, /^Warning: the service cannot write to .*state \(state_dir\)\. Move it /m);
  const missing = await runTool(t, process.execPath, [RELAY_PROGRAM, ...args, '/var/lib/sallyport/none.yaml']);
  assert.match(missing.stderr, /^Warning: \/var\/lib\/sallyport\/none\.yaml is missing\.$/m);
});

test('a program that the unit cannot see is to be installed from what we make, since the name on npm is not ours', () => {
  const spec = { program: 'relay', manager: 'systemd', instance: undefined, config: undefined } as const;
  const found = hindrancesOf({ ...spec, command: 'node /home/me/sallyport/dist/relay-server/main.js' });
  assert.match(
    found.join(),
    /cannot see the program .*\/usr\/local\/bin, or do npm install -g \.\/sallyport-VERSION\.tgz$/,
  );
  for (const name of readdirSync(folder).filter((entry) => entry.endsWith('.service'))) {
    assert.doesNotMatch(readFileSync(join(folder, name), 'utf8'), /npmjs/, name);
  }
});

test('an instance that could become another path, and --config for one, are refused', async (t) => {
  for (const args of [
    ['--instance', '../x'],
    ['--instance', 'two', '--config', 'x.yaml'],
    ['--manager', 'cron'],
  ]) {
    const all = [TUNNEL_PROGRAM, 'service', 'install', '--manager', 'systemd', '--dry-run', ...args];
    assert.equal((await runTool(t, process.execPath, all)).code, 64, args.join(' '));
  }
});

test('the files for OpenRC are shell without mistakes', async (t) => {
  const shell = requireTool(t, 'sh', 'dash');
  if (shell === undefined) return;
  for (const name of readdirSync(join(folder, 'openrc'))) {
    const { code, stderr } = await runTool(t, shell, ['-n', join(folder, 'openrc', name)]);
    assert.deepEqual([code, stderr], [0, ''], name);
  }
});

test('the files for launchd are property lists that start the program and keep it', async (t) => {
  const python = requireTool(t, 'python3', 'python3');
  if (python === undefined) return;
  const reader = 'import json, plistlib, sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))';
  const verbs = { relay: /^exec .* relay serve --config \S+$/, tunnel: /^exec .* tunnel up --config \S+$/ };
  for (const [program, command] of Object.entries(verbs)) {
    const file = readFileSync(join(folder, 'launchd', `sallyport.${program}.plist`));
    const { code, stdout, stderr } = await runTool(t, python, ['-c', reader], file);
    assert.equal(code, 0, stderr);
    const { Label, ProgramArguments, RunAtLoad, KeepAlive, ExitTimeOut, Umask } = JSON.parse(stdout);
    assert.deepEqual([Label, RunAtLoad, KeepAlive, Umask], [`sallyport.${program}`, true, true, 0o077]);
    assert.match(ProgramArguments.at(-1), command);
    assert.ok(ExitTimeOut > 30, 'longer than the drain');
  }
});

test('sockets are ours only if LISTEN_PID says so, one for each descriptor, with the names in order', () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
  fc.assert(
    fc.property(fc.array(name, { minLength: 1, maxLength: 8 }), fc.integer({ min: 1, max: 99_999 }), (names, pid) => {
      const env = { LISTEN_FDS: String(names.length), LISTEN_FDNAMES: names.join(':'), LISTEN_PID: String(pid) };
      const expected = names.map((one, index) => ({ name: one, descriptor: 3 + index }));
      assert.deepEqual(namedSockets(env, pid), expected);
      assert.deepEqual(namedSockets(env, pid + 1), []);
    }),
  );
});

test('whatever the variables hold, no descriptor below 3 and not more than a thousand are ours', () => {
  const text = fc.oneof(fc.string(), fc.integer().map(String), fc.constantFrom('0', '-1', '9999', '1e3', '0x10', ' 2'));
  fc.assert(
    fc.property(text, text, text, (LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID) => {
      const found = namedSockets({ LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID }, 7);
      assert.ok(found.length <= 1_024 && found.every(({ descriptor }) => descriptor >= 3));
    }),
  );
});

test('a socket is taken once; what a predecessor lent is found by its name and is not fixed', () => {
  const sockets = new ListenSockets([
    { name: 'https', descriptor: 1_000_003 },
    { name: 'lent-admin', descriptor: 1_000_004 },
  ]);
  assert.deepEqual([sockets.isFixed('https'), sockets.isFixed('admin')], [true, false]);
  assert.deepEqual([sockets.nameFor('https'), sockets.nameFor('admin')], ['https', 'lent-admin']);
  assert.deepEqual([sockets.take('admin'), sockets.take('admin')], [1_000_004, undefined]);
  assert.equal(sockets.take('http'), undefined);
  sockets.close();
  assert.equal(sockets.take('https'), undefined);
});

test('the watchdog of another process is not ours', () => {
  assert.equal(watchdogMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' }, 7), 30_000);
  assert.equal(watchdogMs({ WATCHDOG_USEC: '30000000' }, 7), 30_000);
  for (const env of [
    {},
    { WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' },
    { WATCHDOG_USEC: '0' },
    { WATCHDOG_USEC: 'x' },
  ]) {
    assert.equal(watchdogMs(env, 7), undefined);
  }
});
