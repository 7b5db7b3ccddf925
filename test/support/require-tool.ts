/**
 * Tools that npm does not bring (openssl, go, nginx …): decides whether a test that needs one runs, is skipped with the
 * name of the package that would bring it, or fails because `SALLYPORT_TEST_REQUIRE=all` forbids skipping.
 */
import assert from 'node:assert/strict';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';

/** Where servers live that an ordinary user's PATH leaves out. */
const ADMIN_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/go/bin'];

/** Path of the tool; undefined when it is missing and the test is now marked as skipped: the caller returns. */
export function requireTool(t: TestContext, name: string, debianPackage: string): string | undefined {
  const path = findTool(name);
  if (path === undefined) skipFor(t, `${name} not found; apt-get install ${debianPackage}`);
  return path;
}

/** Skips the test with one line, or fails it where nothing may be skipped. The caller returns. */
export function skipFor(t: TestContext, reason: string): void {
  assert.notEqual(process.env.SALLYPORT_TEST_REQUIRE, 'all', `SALLYPORT_TEST_REQUIRE=all: ${reason}`);
  t.skip(`skipped: ${reason}`);
}

/** Path of an executable in PATH or where servers live. */
export function findTool(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...ADMIN_FOLDERS];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
