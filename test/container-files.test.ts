/** The Dockerfile and what goes with it agree with each other, and the build context holds all that the build needs. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool } from './support/tool-process.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const COMPOSE = join(ROOT, 'config/docker');

interface Service {
  readonly build?: { readonly context: string; readonly target: string };
  readonly image: string;
}

/** The lines of each stage of the Dockerfile, by its name. */
function stages(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const line of readFileSync(join(ROOT, 'Dockerfile'), 'utf8').split('\n')) {
    const name = /^FROM .* AS (\w+)$/.exec(line)?.[1];
    if (name !== undefined) found.set(name, []);
    [...found.values()].at(-1)?.push(line);
  }
  return found;
}

test('each image runs one program, as a user that is not root, and tells its health', () => {
  const images = [...stages()].filter(([name]) => name !== 'build');
  assert.deepEqual(
    images.map(([name]) => name),
    ['relay', 'tunnel'],
  );
  for (const [name, lines] of images) {
    assert.ok(lines.includes('USER 65532:65532'), name);
    assert.ok(lines.includes(`ENTRYPOINT ["/usr/bin/${name}"]`), name);
    assert.ok(
      lines.some((line) => line.startsWith('HEALTHCHECK ') && line.endsWith(`CMD ["/usr/bin/${name}", "status"]`)),
      name,
    );
  }
});

test('what the compose files build are stages of the Dockerfile', () => {
  const built: string[] = [];
  for (const file of readdirSync(COMPOSE)) {
    const { services } = parse(readFileSync(join(COMPOSE, file), 'utf8')) as { services: Record<string, Service> };
    for (const { build, image } of Object.values(services)) {
      if (build === undefined) continue;
      assert.ok(existsSync(join(COMPOSE, build.context, 'Dockerfile')), file);
      assert.equal(image, `sallyport-${build.target}`);
      built.push(build.target);
    }
  }
  assert.deepEqual(built.sort(), ['relay', 'tunnel']);
});

test('the programs and their packaging can be built from what .dockerignore lets through', async (t) => {
  const folder = temporaryFolder(t);
  const lines = readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n');
  assert.ok(lines.includes('*'));
  for (const name of lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1))) {
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const tsc = await runTool(t, join(folder, 'node_modules/.bin/tsc'), ['-p', folder]);
  assert.equal(tsc.code, 0, tsc.stdout);
  const bundle = `const { bundle } = await import(${JSON.stringify(join(folder, 'dist/config/packaging/bundle.js'))});`;
  const script = `${bundle} for (const program of ['relay', 'tunnel']) console.log((await bundle(program)).packages.length);`;
  const answer = await runTool(t, process.execPath, ['--input-type=module', '--eval', script]);
  assert.match(answer.stdout, /^\d+\n\d+\n$/, answer.stderr);
});
