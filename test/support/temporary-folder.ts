/**
 * A private folder for one test, gone when the test ends. A program of the test that is ended only after that may still
 * write to it; what it leaves behind goes when the test file ends.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import type { TestContext } from 'node:test';

const left = new Set<string>();
process.once('exit', () => left.forEach(remove));

/** A new empty folder of mode 0700. */
export function temporaryFolder(t: Pick<TestContext, 'after'>): string {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'sallyport-test-'));
  left.add(folder);
  t.after(() => remove(folder));
  return folder;
}

function remove(folder: string): void {
  try {
    fs.rmSync(folder, { recursive: true, force: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
  }
  if (!fs.existsSync(folder)) left.delete(folder);
}

/** The permission bits of a file or folder, e.g. `600`. */
export function modeOf(place: string): string {
  return (fs.statSync(place).mode & 0o777).toString(8);
}
