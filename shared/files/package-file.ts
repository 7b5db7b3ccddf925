/**
 * PackageFile: reads the text files that come with the programs (package.json, systemd/…).
 *
 * They lie in the package's root. In a single executable there is no such folder: config/packaging/bundle.ts puts another
 * `readPackageFile` in the place of this module, which has the texts in it. So nothing else may look for files beside itself.
 */
import { readFileSync } from 'node:fs';

/** From dist/shared/ to the package's root. */
const ROOT = new URL('../../..', import.meta.url);

/**
 * The text of a file.
 * @param path from the package's root, e.g. `package.json`
 * @throws when it is missing
 */
export function readPackageFile(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}
