/**
 * `npm run build:binary [-- x64 arm64]`: both programs as single executables, in dist-packages/, with the licences of all
 * that is inside and a list of SHA-256. Made anywhere, they are the same, byte for byte.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildBinaries, CHECKSUMS, PACKAGES } from './binaries.js';
import { architecturesOf } from './node-release.js';

await buildBinaries(PACKAGES, architecturesOf(process.argv.slice(2)));
process.stdout.write(readFileSync(join(PACKAGES, CHECKSUMS)));
