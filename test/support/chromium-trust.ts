/** A home folder whose Chromium trusts a CA as its user would have it: imported into the NSS database. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { requireTool } from './require-tool.js';
import { temporaryFolder } from './temporary-folder.js';
import { runTool } from './tool-process.js';

/** The folder for HOME; undefined when certutil is missing and the test is skipped. */
export async function homeTrusting(t: TestContext, rootPem: string): Promise<string | undefined> {
  const certutil = requireTool(t, 'certutil', 'libnss3-tools');
  if (certutil === undefined) return undefined;
  const home = temporaryFolder(t);
  const folder = join(home, '.pki', 'nssdb');
  mkdirSync(folder, { recursive: true });
  const rootFile = join(home, 'root.pem');
  writeFileSync(rootFile, rootPem);
  const database = ['-d', `sql:${folder}`];
  const made = await runTool(t, certutil, ['-N', ...database, '--empty-password']);
  const added = await runTool(t, certutil, ['-A', ...database, '-n', 'test root', '-t', 'C,,', '-i', rootFile]);
  if (made.code !== 0 || added.code !== 0) throw new Error(`certutil failed: ${made.stderr}${added.stderr}`);
  return home;
}
