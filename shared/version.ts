/**
 * Version: what both programs call themselves. Read from package.json, the one place where the number stands.
 */
import { readFileSync } from 'node:fs';

/** From dist/shared/ to the package's root. */
const packageFile = new URL('../../package.json', import.meta.url);

/** The package's version, e.g. `0.1.0`. */
export const VERSION: string = String(JSON.parse(readFileSync(packageFile, 'utf8')).version);

/** Product and version as in User-Agent (RFC 9110 §10.1.5). */
export const AGENT = `sallyport/${VERSION}`;
