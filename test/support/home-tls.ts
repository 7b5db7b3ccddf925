/** What the tests of end-to-end tunnels share: a relay, a client that ends TLS itself, and the CA of its certificate. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryFolder } from './temporary-folder.js';
import { TestCa } from './test-ca.js';
import { RelayHome, type RelayWorldOptions, type RunningClient, type RunningRelay } from './world.js';

/** The public hostname of the end-to-end tunnel. */
export const VAULT = 'vault.relay.localhost';

export interface HomeTlsWorld {
  readonly relay: RunningRelay;
  readonly client: RunningClient;
  readonly certificate: HomeCertificate;
}

/** A certificate of a CA that the relay knows nothing of, in files. */
export interface HomeCertificate {
  readonly ca: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly key: string;
}

export async function homeCertificate(t: Pick<TestContext, 'after'>, hostname = VAULT): Promise<HomeCertificate> {
  const folder = temporaryFolder(t);
  const ca = await TestCa.make();
  const { key, cert } = await ca.issue(hostname);
  const files = ['ca.pem', 'cert.pem', 'key.pem'].map((name) => join(folder, name));
  const [caFile = '', certFile = '', keyFile = ''] = files;
  writeFileSync(caFile, ca.certPem);
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key, { mode: 0o600 });
  return { ca: ca.certPem, caFile, certFile, keyFile, key };
}

/** The tunnel of VAULT as it stands in tunnel.yaml. */
export function vaultTunnel(origin: string, { certFile, keyFile }: HomeCertificate, more = '', host = VAULT): string {
  const certificate = `certificate: { cert_file: ${certFile}, key_file: ${keyFile} }`;
  const rest = more === '' ? '' : `, ${more}`;
  return `{ name: vault, host: "${host}", origin: "${origin}", tls: end-to-end, ${certificate}${rest} }`;
}

/** A relay and a client in this process, with one end-to-end tunnel from VAULT to `origin`. */
export async function startVault(
  t: TestContext,
  origin: string,
  options: RelayWorldOptions & { readonly tunnel?: string; readonly clientYaml?: string } = {},
): Promise<HomeTlsWorld> {
  const certificate = await homeCertificate(t);
  const relay = await new RelayHome(t, options).start(t);
  const client = await relay.client(t, [vaultTunnel(origin, certificate, options.tunnel)], {
    http2: options.http2 ?? 'off',
    yaml: options.clientYaml ?? '',
  });
  return { relay, client, certificate };
}

/** What every call of curl needs to reach VAULT. */
export function curlOptions(relay: RunningRelay, { caFile }: Pick<HomeCertificate, 'caFile'>, host = VAULT): string[] {
  const here = `${host}:${relay.port('https')}:127.0.0.1`;
  // -q first: no ~/.curlrc, no proxies.
  return ['-q', '--noproxy', '*', '-sS', '--max-time', '30', '--cacert', caFile, '--resolve', here];
}

export function vaultUrl(relay: RunningRelay, path: string, host = VAULT): string {
  return `https://${host}:${relay.port('https')}${path}`;
}
