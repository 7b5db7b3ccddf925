/**
 * `npm run build:binary [-- x64 arm64]`: both programs as single executables, in dist-packages/, with their SHA-256 and
 * the licences of all that is inside. Made anywhere, they are the same, byte for byte.
 */
import { buildBinaries, PACKAGES } from './binaries.js';
import { ARCHITECTURES, isArchitecture } from './node-release.js';

const wanted = process.argv.slice(2);
const strange = wanted.find((name) => !isArchitecture(name));
if (strange !== undefined) throw new Error(`Cannot build for ${strange}. There are: ${ARCHITECTURES.join(', ')}.`);
const architectures = wanted.filter(isArchitecture);
process.stdout.write(await buildBinaries(PACKAGES, architectures.length > 0 ? architectures : ARCHITECTURES));
