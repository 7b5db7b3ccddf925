/**
 * Certificate: the one certificate that every subject shows, so that no subject wins by its key.
 */
import { join } from 'node:path';
import type { Programs } from './programs.js';
import type { Tools } from './tools.js';

/** The name that visitors ask for, and the relay's own. Under `.localhost`: no resolver can send them elsewhere. */
export const VISITOR_HOST = 'app.bench.localhost';
export const RELAY_HOST = 'bench.localhost';

/** The hostname of tunnel `index` where a figure has many of them. */
export function numberedHost(index: number): string {
  return `t${index}.${RELAY_HOST}`;
}

export interface CertificatePaths {
  readonly cert: string;
  readonly key: string;
}

/** Makes a self-signed P-256 certificate for all hosts in `folder`; it serves as its own CA. */
export async function makeCertificate(programs: Programs, tools: Tools, folder: string): Promise<CertificatePaths> {
  const paths = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', paths.key];
  const names = ['-subj', `/CN=${RELAY_HOST}`, '-addext', `subjectAltName=DNS:${RELAY_HOST},DNS:*.${RELAY_HOST}`];
  await programs.run(tools.openssl, ['req', '-x509', '-days', '2', ...key, ...names, '-out', paths.cert], {
    timeoutMs: 10_000,
  });
  return paths;
}
