/** The package: what `npm pack` puts into it is all that both programs need on another machine. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { requireTool } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool } from './support/tool-process.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const build = fileURLToPath(new URL('../', import.meta.url));
const about = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** What npm takes into a package without being asked. */
const ALWAYS = ['package.json', 'README.md', 'LICENSE'];

/** Runs a shell command in `folder`; returns its stdout, and fails the test when it fails. */
async function shell(t: TestContext, folder: string, command: string): Promise<string> {
  const home = `export HOME="$1" PATH="$1/node_modules/.bin:$PATH" npm_config_cache="$1/.npm" npm_config_update_notifier=false`;
  const answer = await runTool(t, 'sh', ['-c', `cd "$1" && ${home} && ${command}`, 'sh', folder]);
  assert.equal(answer.code, 0, `${command}: ${answer.stdout}${answer.stderr}`);
  return answer.stdout;
}

/** The project as it would be after `npm run build` with this build in `dist`. */
function stage(folder: string): void {
  const named: string[] = [...ALWAYS, ...about.files].filter((entry) => !/^!|^dist\//.test(entry));
  // Whole folders, even where package.json names only some of their files: the rest must be left out by it.
  for (const entry of named.map((one) => one.split('/')[0] ?? one)) {
    cpSync(join(root, entry), join(folder, entry), { recursive: true });
  }
  for (const name of ['relay-server', 'tunnel-client', 'shared', 'test']) {
    cpSync(join(build, name), join(folder, 'dist', name), { recursive: true });
  }
}

/** The dependencies that `npm ci` has brought, so that installing the package needs no network. */
function provideDependencies(folder: string): void {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  for (const [place, { dev }] of Object.entries<{ dev?: boolean }>(packages)) {
    if (place === '' || dev === true) continue;
    cpSync(join(root, place), join(folder, place), { recursive: true });
  }
  const links = 'node_modules/.bin';
  cpSync(join(root, links), join(folder, links), { recursive: true, verbatimSymlinks: true });
}

async function pack(t: TestContext): Promise<string> {
  const folder = temporaryFolder(t);
  stage(folder);
  const name = await shell(t, folder, 'npm pack --ignore-scripts --silent');
  return join(folder, name.trim());
}

test('the package holds both programs and their papers, and neither tests nor what they need', async (t) => {
  if (requireTool(t, 'npm', 'npm') === undefined) return;
  const tarball = await pack(t);
  const listed = await runTool(t, 'tar', ['-tzf', tarball]);
  const files = listed.stdout
    .trim()
    .split('\n')
    .map((line) => line.replace(/^package\//, ''));
  assert.equal(basename(tarball), `sallyport-${about.version}.tgz`);
  for (const file of [...ALWAYS, ...Object.values<string>(about.bin), 'CHANGELOG.md', 'config/relay.example.yaml']) {
    assert.ok(files.includes(file), `${file} is missing`);
  }
  assert.deepEqual(
    files.filter((file) => /(^|\/)test\/|\.map$|\.ts$|^config\/invalid|tsbuildinfo/.test(file)),
    [],
  );
});

test('installed into an empty folder, it makes a relay and joins a client to it', async (t) => {
  if (requireTool(t, 'npm', 'npm') === undefined) return;
  const tarball = await pack(t);
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'package.json'), '{}');
  provideDependencies(folder);
  await shell(t, folder, `npm install --ignore-scripts --prefer-offline ${tarball}`);
  assert.equal((await shell(t, folder, 'npx relay --version')).trim(), about.version);
  assert.match(await shell(t, folder, 'relay --help'), /Usage: relay /);
  assert.match(await shell(t, folder, 'npx tunnel --help'), /Usage: tunnel /);

  const joinCommand = await shell(t, folder, 'relay init --domain example.com --dir relay');
  assert.match(await shell(t, folder, 'relay check --config relay/relay.yaml'), /relay\.yaml: ok/);
  await shell(t, folder, `${joinCommand.trim()} --config home/tunnel.yaml`);
  assert.match(await shell(t, folder, 'tunnel check --config home/tunnel.yaml'), /tunnel\.yaml: ok/);
});

test('signals reach the quickstart, and only tests that exist are run', () => {
  // npm passes signals on to its child alone: a shell in between would keep them, and leave the programs behind.
  assert.match(about.scripts.start, /^exec node /);
  // Node 20 knows no patterns, so the shell must see this one; what an earlier build left behind must not run.
  assert.match(about.scripts.test, / dist\/test\/\*\.test\.js$/);
  assert.match(about.scripts.pretest, /^npm run --silent clean && /);
});

test('every file that the README leads to is there, and so is every npm script', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, link = '']) => link);
  assert.ok(links.length >= 4);
  assert.deepEqual(
    links.filter((link) => !existsSync(join(root, link))),
    [],
  );
  const scripts = [...readme.matchAll(/npm (?:run )?(start|test|check|bench|format)\b/g)].map(([, name = '']) => name);
  assert.deepEqual(
    scripts.filter((name) => about.scripts[name] === undefined),
    [],
  );
});
