/** The Debian packages, as dpkg and lintian see them: installed, upgraded, removed and purged in a root of their own. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildBinaries, programs } from '../../config/packaging/binaries.js';
import { buildDebianPackage } from '../../config/packaging/debian-package.js';
import { isArchitecture } from '../../config/packaging/node-release.js';
import { VERSION } from '../../shared/version.js';
import { DebianRoot } from '../support/debian-root.js';
import { findTool, requireTool } from '../support/require-tool.js';
import { runTool } from '../support/tool-process.js';

const NEWER = '99.0.0';
const UNITS = fileURLToPath(new URL('../../../systemd/', import.meta.url));

const architecture = isArchitecture(process.arch) ? process.arch : assert.fail(`no packages for ${process.arch}`);
const folder = mkdtempSync(join(tmpdir(), 'sallyport-test-'));
const paths: string[] = [];

before(async () => {
  await buildBinaries(folder, [architecture]);
  if (findTool('dpkg-deb') === undefined) return;
  for (const version of [VERSION, NEWER]) {
    for (const program of programs()) {
      paths.push(buildDebianPackage({ program, architecture, folder, version, compression: 'none' }));
    }
  }
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Names of the packages of one version, as they lie in /mnt of a DebianRoot. */
function debs(version: string): string {
  const names = paths.filter((path) => path.includes(`_${version}_`)).map((path) => path.replace(folder, '/mnt'));
  return names.join(' ');
}

test('installing brings programs, units and settings, but neither users nor state, and starts nothing', async (t) => {
  const root = await DebianRoot.open(t, folder);
  if (root === undefined) return;
  const before = await root.run('cat /etc/passwd /etc/group');
  await root.run(`dpkg --install ${debs(VERSION)}`);
  for (const program of programs()) {
    assert.equal(await root.run(`env -i /usr/bin/${program} --version`), `${VERSION}\n`);
    assert.equal(await root.run(`stat -c '%a %U:%G' /usr/bin/${program}`), '755 root:root\n');
    assert.equal(await root.run(`dpkg --verify sallyport-${program}`), '');
    assert.match(await root.run(`cat /usr/share/doc/sallyport-${program}/copyright`), /Permission is hereby granted/);
  }
  for (const unit of readdirSync(UNITS).filter((name) => /\.(?:service|socket)$/.test(name))) {
    assert.equal(await root.run(`cat /usr/lib/systemd/system/${unit}`), readFileSync(join(UNITS, unit), 'utf8'));
  }
  assert.deepEqual(await root.systemctlCalls(), ['daemon-reload', 'daemon-reload']);
  assert.equal(await root.run('cat /etc/passwd /etc/group'), before);
  assert.equal(
    await root.run('find /var/lib/sallyport* /etc/systemd/system -name "*sallyport*" 2>/dev/null || true'),
    '',
  );
});

test('what the documentation refers to comes with the package, where its links lead', async (t) => {
  const root = await DebianRoot.open(t, folder);
  if (root === undefined) return;
  await root.run(`dpkg --install ${debs(VERSION)}`);
  for (const program of programs()) {
    const papers = `/usr/share/doc/sallyport-${program}`;
    const links = await root.run(`grep -oh '](\\.\\./config/[a-z./]*' ${papers}/docs/*.md; echo`);
    const places = links.split('\n').flatMap((link) => (link === '' ? [] : [link.replace('](..', papers)]));
    const named = ['prometheus/alerts.yaml', 'grafana/relay.json', 'openapi/relay.json', 'relay.example.yaml'];
    await root.run(`ls ${named.map((name) => `${papers}/config/${name}`).join(' ')} ${papers}/docs/operations.md`);
    for (const place of places) if (!place.includes('docker')) await root.run(`test -e ${place}`);
  }
});

test('an upgrade keeps what the operator changed, and restarts only what runs', async (t) => {
  const root = await DebianRoot.open(t, folder);
  if (root === undefined) return;
  await root.run(`dpkg --install ${debs(VERSION)}`);
  await root.run('echo "NODE_OPTIONS=--max-old-space-size=64" > /etc/default/sallyport-relay');
  await root.systemctlCalls();
  await root.run(`dpkg --install ${debs(NEWER)}`);
  assert.equal(await root.run('cat /etc/default/sallyport-relay'), 'NODE_OPTIONS=--max-old-space-size=64\n');
  assert.deepEqual(
    (await root.systemctlCalls()).filter((call) => call !== 'daemon-reload'),
    // The relay's own restart finds no relay.yaml here: then a service that runs goes on as it was.
    ['is-active --quiet sallyport-relay.service', 'try-restart sallyport-tunnel*.service'],
  );
});

test('an upgrade lets the relay hand its sockets over, and has systemd restart it only when no relay answers', async (t) => {
  const root = await DebianRoot.open(t, folder);
  if (root === undefined) return;
  await root.run(`dpkg --install ${debs(VERSION)}`);
  const calls = async () => (await root.systemctlCalls()).filter((call) => /relay/.test(call));
  const postinst = '/var/lib/dpkg/info/sallyport-relay.postinst configure 0.0.1';
  const active = 'is-active --quiet sallyport-relay.service';
  for (const [status, expected] of [
    [0, [active]],
    [78, [active]],
    [69, [active, 'try-restart sallyport-relay*.service']],
  ] as const) {
    // A program that writes down its arguments stands before the real one in PATH.
    await root.run(`printf '#!/bin/sh\\necho "$@" >/tmp/said\\nexit ${status}\\n' >/usr/local/bin/relay`);
    await root.run('chmod 755 /usr/local/bin/relay');
    await calls();
    await root.run(postinst);
    assert.deepEqual(await calls(), expected);
    assert.equal(await root.run('cat /tmp/said'), 'restart --config /var/lib/sallyport/relay.yaml\n');
  }
});

test('removing keeps settings and state; purging leaves nothing behind', async (t) => {
  const root = await DebianRoot.open(t, folder);
  if (root === undefined) return;
  await root.run(`dpkg --install ${debs(VERSION)}`);
  await root.run('relay init --domain example.com --dir /var/lib/sallyport');
  // As systemd leaves it once the service of a dynamic user ran.
  await root.run(
    'mkdir -p /var/lib/private/sallyport-tunnel; ln -s private/sallyport-tunnel /var/lib/sallyport-tunnel',
  );
  const wanted = '/etc/systemd/system/multi-user.target.wants';
  await root.run(`mkdir -p ${wanted}; ln -s /usr/lib/systemd/system/sallyport-relay.service ${wanted}/`);
  await root.systemctlCalls();

  await root.run('dpkg --remove sallyport-relay sallyport-tunnel');
  assert.deepEqual(
    (await root.systemctlCalls()).filter((call) => call !== 'daemon-reload'),
    ['stop sallyport-relay*', 'stop sallyport-tunnel*'],
  );
  await root.run(
    'test ! -e /usr/bin/relay && test -e /etc/default/sallyport-relay && test -e /var/lib/sallyport/relay.yaml',
  );

  const traces = 'find /etc /usr /var -xdev -name "*sallyport*"';
  assert.match(await root.run(traces), /^\/var\/lib\/sallyport-tunnel$/m);
  await root.run('dpkg --purge sallyport-relay sallyport-tunnel');
  assert.equal(await root.run(traces), '');
  await root.run('test ! -e /usr/bin/relay && test ! -e /usr/bin/tunnel');
});

test('a purge removes the state of every unit, and no other', async (t) => {
  const root = await DebianRoot.open(t, folder);
  if (root === undefined) return;
  await root.run(`dpkg --install ${debs(VERSION)}`);
  const units = readdirSync(UNITS).filter((name) => name.endsWith('.service'));
  const texts = units.map((name) => readFileSync(join(UNITS, name), 'utf8'));
  const states = texts.map((text) => /^StateDirectory=(.*)$/m.exec(text)?.[1]?.replace('%i', 'cabin'));
  await root.run(
    `cd /var/lib && mkdir -p private ${states.map((name) => `${name} private/${name}`).join(' ')} sallyports`,
  );
  await root.run('dpkg --purge sallyport-relay sallyport-tunnel');
  const left = (await root.run('ls -d /var/lib/sallyport* /var/lib/private/sallyport* || true')).trim();
  assert.equal(left, '/var/lib/sallyports');
});

test('lintian has nothing to say', async (t) => {
  const lintian = requireTool(t, 'lintian', 'lintian');
  if (lintian === undefined) return;
  const own = paths.filter((path) => path.includes(`relay_${VERSION}_`));
  // Packages for tests are not compressed: that takes half a minute for each.
  const suppress = 'uses-no-compression-for-data-tarball,uses-no-compression-for-control-tarball';
  const { code, stdout } = await runTool(t, lintian, ['--allow-root', '--suppress-tags', suppress, ...own]);
  // The code, because a lintian that took too long says nothing, either.
  assert.deepEqual({ code, stdout }, { code: 0, stdout: '' });
});
