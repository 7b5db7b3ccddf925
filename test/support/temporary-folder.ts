/** A private folder for one test, gone when the test ends. */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import type { TestContext } from 'node:test';

/** A new empty folder of mode 0700. */
export function temporaryFolder(t: Pick<TestContext, 'after'>): string {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'sallyport-test-'));
  // Whoever writes to it may still be at its last file.
  t.after(() => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 20 }));
  return folder;
}

/** The permission bits of a file or folder, e.g. `600`. */
export function modeOf(place: string): string {
  return (fs.statSync(place).mode & 0o777).toString(8);
}
