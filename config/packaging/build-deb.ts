/**
 * `npm run build:deb [-- x64 arm64]`: a Debian package of each program, in dist-packages/, beside the executables that
 * the packages contain; the list of SHA-256 covers both. Needs dpkg-deb.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKSUMS, PACKAGES, programs, writeChecksums } from './binaries.js';
import { buildDebianPackage } from './debian-package.js';
import { architecturesOf } from './node-release.js';

for (const architecture of architecturesOf(process.argv.slice(2))) {
  for (const program of programs()) buildDebianPackage({ program, architecture, folder: PACKAGES });
}
writeChecksums(PACKAGES);
process.stdout.write(readFileSync(join(PACKAGES, CHECKSUMS)));
