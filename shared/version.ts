/**
 * Version: what both programs call themselves. Read from package.json, the one place where the number stands.
 */
import { readPackageFile } from './files/package-file.js';

/** The package's version, e.g. `0.1.0`. */
export const VERSION: string = String(JSON.parse(readPackageFile('package.json')).version);

/** Product and version as in User-Agent (RFC 9110 §10.1.5). */
export const AGENT = `sallyport/${VERSION}`;
