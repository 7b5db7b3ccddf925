/** The bundles that single executables hold: each program in one file, which needs nothing beside it. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { programs } from '../config/packaging/binaries.js';
import { bundle } from '../config/packaging/bundle.js';
import { VERSION } from '../shared/version.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool } from './support/tool-process.js';

/** ws and debug ask for them, and do without. */
const OPTIONAL = ['bufferutil', 'supports-color', 'utf-8-validate'];

test('a bundle needs Node alone, knows its version, and is the same each time', async (t) => {
  for (const program of programs()) {
    const { code, packages } = await bundle(program);
    assert.ok(packages.includes('ws') && packages.includes('pino'), String(packages));
    const required = [...code.matchAll(/\brequire\("([^"]+)"\)/g)].map(([, name = '']) => name);
    assert.deepEqual(
      required.filter((name) => !isBuiltin(name) && !OPTIONAL.includes(name)),
      [],
    );
    // A folder of its own: nothing can be found in a node_modules above it.
    const file = join(temporaryFolder(t), `${program}.cjs`);
    writeFileSync(file, code);
    const answer = await runTool(t, process.execPath, [file, '--version']);
    assert.deepEqual(answer, { code: 0, stdout: `${VERSION}\n`, stderr: '' });
    assert.equal((await bundle(program)).code, code);
  }
});
