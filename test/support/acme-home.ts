/** A relay, and a CA that finds it when it looks at any hostname; so end-to-end tunnels can get certificates by themselves. */
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { freePort } from '../../bench/free-port.js';
import { VAULT } from './home-tls.js';
import { type Pebble, type PebbleOptions, startPebble } from './pebble.js';
import { temporaryFolder } from './temporary-folder.js';
import { RelayHome, type RelayWorldOptions } from './world.js';

export interface AcmeHome {
  readonly pebble: Pebble;
  readonly home: RelayHome;
  /** The port that the relay must have. */
  readonly httpsPort: number;
  /** Where the client keeps its certificates. */
  readonly stateDir: string;
  /** The lines of tunnel.yaml that name CA and folder. */
  readonly yaml: string;
}

/** Starts the CA, not the relay; undefined when a tool is missing and the test is skipped. */
export async function startAcmeHome(
  t: TestContext,
  options: PebbleOptions & RelayWorldOptions = {},
): Promise<AcmeHome | undefined> {
  const httpsPort = await freePort();
  const pebble = await startPebble(t, { nonceReject: 0, ...options, tlsPort: httpsPort });
  if (pebble === undefined) return undefined;
  const home = new RelayHome(t, { ...options, httpsPort });
  const stateDir = join(temporaryFolder(t), 'state');
  return { pebble, home, httpsPort, stateDir, yaml: acmeYaml(pebble, stateDir) };
}

/** The lines of tunnel.yaml for this CA; `more` is the rest of the section `acme`. */
export function acmeYaml(
  { directoryUrl, caFile }: Pick<Pebble, 'directoryUrl' | 'caFile'>,
  stateDir: string,
  more = '',
): string {
  const rest = more === '' ? '' : `, ${more}`;
  return `state_dir: ${stateDir}\nacme: { directory_url: "${directoryUrl}", ca_file: ${caFile}${rest} }`;
}

/** A tunnel whose certificate comes by itself, as it stands in tunnel.yaml. */
export function acmeTunnel(origin: string, host = VAULT, name = 'vault'): string {
  return `{ name: ${name}, host: "${host}", origin: "${origin}", tls: end-to-end }`;
}
