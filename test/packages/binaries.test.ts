/** The single executables, as `npm run build:binary` makes them: the same each time, and they run with no Node beside. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { binaryName, buildBinaries, CHECKSUMS, LICENCES, programs } from '../../config/packaging/binaries.js';
import { ARCHITECTURES, isArchitecture } from '../../config/packaging/node-release.js';
import { VERSION } from '../../shared/version.js';
import { output, visitThrough } from '../support/installed-pair.js';
import { requireTool, skipFor } from '../support/require-tool.js';
import { temporaryFolder } from '../support/temporary-folder.js';

/** Where the libraries of another architecture lie (Debian's *-arm64-cross packages). */
const ARM64_ROOT = '/usr/aarch64-linux-gnu';

const host = isArchitecture(process.arch) ? process.arch : assert.fail(`no executables for ${process.arch}`);
const folder = mkdtempSync(join(tmpdir(), 'sallyport-test-'));
const sumsIn = (place: string) => readFileSync(join(place, CHECKSUMS), 'utf8');

before(() => buildBinaries(folder, ARCHITECTURES));
after(() => rmSync(folder, { recursive: true, force: true }));

test('a second build makes the same bytes', async (t) => {
  const another = temporaryFolder(t);
  await buildBinaries(another, ARCHITECTURES);
  assert.equal(sumsIn(another), sumsIn(folder));
});

test('sha256sum agrees with the list, which leaves no executable out', async (t) => {
  const names = programs().flatMap((program) => ARCHITECTURES.map((architecture) => binaryName(program, architecture)));
  for (const name of names) assert.match(sumsIn(folder), new RegExp(`^[0-9a-f]{64} {2}${name}$`, 'm'));
  await output(t, 'sh', ['-c', `cd ${folder} && sha256sum --check --strict ${CHECKSUMS}`]);
});

test('the licences of all that is inside are there', () => {
  const text = readFileSync(join(folder, LICENCES), 'utf8');
  for (const name of ['sallyport', 'ws', 'pino', '@peculiar/x509', 'node'])
    assert.ok(text.includes(`==== ${name}\n`), name);
});

test('relay and tunnel carry a visitor with no Node in reach', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const [relay, tunnel] = [join(folder, binaryName('relay', host)), join(folder, binaryName('tunnel', host))];
  assert.equal(await output(t, 'env', ['-i', relay, '--version']), `${VERSION}\n`);
  assert.equal(await visitThrough(t, { relay, tunnel }, curl), 'carried');
});

test('the executables for arm64 start and read a configuration', async (t) => {
  const emulator = emulatorFor(t);
  if (emulator === undefined) return;
  const run = (...args: readonly string[]) => output(t, 'env', [...emulator, ...args]);
  const home = temporaryFolder(t);
  const [relay, tunnel] = [join(folder, binaryName('relay', 'arm64')), join(folder, binaryName('tunnel', 'arm64'))];
  assert.equal(await run(tunnel, '--version'), `${VERSION}\n`);
  assert.match(await run(relay, 'init', '--domain', 'example.com', '--dir', home), /^tunnel join '/);
  assert.match(await run(relay, 'check', '--config', join(home, 'relay.yaml')), /relay\.yaml: ok/);
});

/** The command, before that of an arm64 program, that runs it here; undefined when it is missing and the test is skipped. */
function emulatorFor(t: TestContext): readonly string[] | undefined {
  if (host === 'arm64') return [];
  const qemu = requireTool(t, 'qemu-aarch64-static', 'qemu-user-static');
  if (qemu === undefined) return undefined;
  if (existsSync(join(ARM64_ROOT, 'lib/libstdc++.so.6'))) return [qemu, '-L', ARM64_ROOT];
  skipFor(t, `no libraries in ${ARM64_ROOT}; apt-get install libstdc++6-arm64-cross`);
  return undefined;
}
