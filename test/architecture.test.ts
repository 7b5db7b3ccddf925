/** The architecture as the imports tell it: who may know whom, and which file is the door of which package. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { codeOf, ROOT, type SourceFile, sourcesIn } from './support/source-files.js';

const relayServer = sourcesIn('relay-server');
const tunnelClient = sourcesIn('tunnel-client');
const shared = sourcesIn('shared');
const packaging = sourcesIn('config/packaging');
const product = [...relayServer, ...tunnelClient, ...shared];
const everything = [...product, ...packaging, ...sourcesIn('test'), ...sourcesIn('bench')];

/** The only files that import a package at run time; others may know its types. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  '@peculiar/x509': ['relay-server/certs/local-issuer.ts'],
  'acme-client': ['shared/certs/acme-door.ts'],
  commander: ['shared/command/command-line.ts'],
  'p-retry': ['tunnel-client/client.ts'],
  pino: ['shared/log.ts'],
  tweetnacl: ['shared/token.ts'],
  ws: ['shared/link.ts'],
  yaml: ['shared/config-file.ts', 'shared/config/config-edit.ts'],
};

/** What the wire format of HTTP may take from Node: functions and tables that touch nothing. */
const PURE: Readonly<Record<string, readonly string[]>> = {
  'node:crypto': ['createHash'],
  'node:http': ['STATUS_CODES'],
  'node:net': ['isIPv6'],
};

/** Names of files, before `.ts`, that say nothing. */
const EMPTY_NAMES = /^(?:utils?|types?|helpers?|index|common|misc|lib)$|(?:^|-)(?:utils|helpers|manager)$/;

/** Everything that may lie at the top, beside files with a dot and what .gitignore names. */
const TOP_LEVEL = [
  'CHANGELOG.md',
  'Dockerfile',
  'LICENSE',
  'README.md',
  'bench',
  'biome.json',
  'config',
  'docs',
  'package-lock.json',
  'package.json',
  'relay-server',
  'shared',
  'systemd',
  'test',
  'tsconfig.json',
  'tunnel-client',
];

/** `importer → imported` for every import that `isForbidden` names. */
function offences(files: readonly SourceFile[], isForbidden: (from: string) => boolean): string[] {
  return files.flatMap(({ path, imports }) =>
    imports.filter(({ from }) => isForbidden(from)).map(({ from }) => `${path} → ${from}`),
  );
}

function fileAt(path: string): SourceFile {
  return product.find((file) => file.path === path) ?? assert.fail(`no file ${path}`);
}

test('the programs never import each other, shared imports neither, and none imports what builds or tests them', () => {
  assert.ok(relayServer.length > 20 && tunnelClient.length > 20 && shared.length > 20);
  assert.deepEqual(
    offences(relayServer, (from) => from.startsWith('tunnel-client/')),
    [],
  );
  assert.deepEqual(
    offences(tunnelClient, (from) => from.startsWith('relay-server/')),
    [],
  );
  assert.deepEqual(
    offences(shared, (from) => /^(?:relay-server|tunnel-client)\//.test(from)),
    [],
  );
  assert.deepEqual(
    offences(product, (from) => /^(?:test|bench|config)\//.test(from)),
    [],
  );
  assert.deepEqual(
    offences(packaging, (from) => /^(?:relay-server|tunnel-client|test|bench)\//.test(from)),
    [],
  );
});

test('each third-party package has its doors, and no others', () => {
  const found: Record<string, string[]> = {};
  for (const { path, imports } of product) {
    for (const { from, isTypeOnly } of imports) {
      if (isTypeOnly || from.startsWith('node:') || from.endsWith('.ts')) continue;
      found[from] = [...new Set([...(found[from] ?? []), path])].sort();
    }
  }
  assert.deepEqual(found, DOORS);
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  assert.deepEqual(Object.keys(dependencies).sort(), Object.keys(DOORS).sort());
});

test('files are read through one door, which takes regular ones alone', () => {
  const reads =
    /(?<![#.])\b(?:readFile|readFileSync|createReadStream)\b|\bfs\.(?:readFile|readFileSync|createReadStream)\b/;
  const readers = product.filter(({ text }) => /from 'node:fs(?:\/promises)?'/.test(text) && reads.test(codeOf(text)));
  // What belongs to our own package is no stranger's.
  assert.deepEqual(
    readers.map(({ path }) => path),
    ['shared/files/package-file.ts'],
  );
});

test('no key is generated while its maker waits: Node 20 stands still for ever when it then collects garbage', () => {
  const makers = everything.filter(({ text }) => /\bgenerateKeyPairSync\(/.test(codeOf(text)));
  assert.deepEqual(
    makers.map(({ path }) => path),
    [],
  );
});

test('the mux imports one way: frame ← stream ← turns ← session', () => {
  const order = ['frame', 'stream', 'turns', 'session'].map((name) => `shared/mux/${name}.ts`);
  for (const [at, path] of order.entries()) {
    assert.deepEqual(
      offences([fileAt(path)], (from) => order.indexOf(from) > at),
      [],
    );
  }
  assert.deepEqual(
    offences([fileAt('shared/mux/frame.ts')], (from) => from.startsWith('node:')),
    [],
  );
});

test('the wire format of HTTP does no I/O', () => {
  for (const { path, imports } of shared.filter((file) => file.path.startsWith('shared/http/'))) {
    for (const { from, isTypeOnly, names } of imports) {
      if (isTypeOnly || !from.startsWith('node:')) continue;
      assert.ok(names.length > 0 && names.every((name) => PURE[from]?.includes(name)), `${path}: ${from} ${names}`);
    }
  }
});

test('no file imports itself by a detour', () => {
  const graph = new Map(
    product.map(({ path, imports }) => [path, imports.filter(({ isTypeOnly }) => !isTypeOnly).map(({ from }) => from)]),
  );
  const finished = new Set<string>();
  const walk = (path: string, above: readonly string[]): void => {
    assert.ok(!above.includes(path), `import cycle: ${[...above, path].join(' → ')}`);
    if (finished.has(path)) return;
    for (const next of graph.get(path) ?? []) walk(next, [...above, path]);
    finished.add(path);
  };
  for (const path of graph.keys()) walk(path, []);
});

test('files are named after what they decide, in kebab-case', () => {
  for (const { path } of everything) {
    const name = basename(path).replace(/(?:\.test)?\.ts$/, '');
    assert.match(name, /^[a-z0-9]+(?:-[a-z0-9]+)*$/, path);
    assert.doesNotMatch(name, EMPTY_NAMES, path);
  }
});

test('no any, no enum, no default export, and each file begins with what it is', () => {
  for (const { path, text } of [...product, ...packaging]) {
    assert.doesNotMatch(codeOf(text), /[:<|&,(]\s*any\s*[[\],;)>|&={]|\bas any\b/, path);
    assert.doesNotMatch(codeOf(text), /^(?:export )?(?:const )?enum |^export default\b/m, path);
    assert.match(text, /^(?:#!.*\n)?\/\*\*\n/, path);
  }
});

test('nothing lies at the top but what the architecture names', () => {
  const ignored = /^(?:\..*|node_modules|dist.*|.*\.tgz)$/;
  const strangers = readdirSync(ROOT).filter((name) => !ignored.test(name) && !TOP_LEVEL.includes(name));
  assert.deepEqual(strangers, []);
});
