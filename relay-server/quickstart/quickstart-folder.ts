/**
 * QuickstartFolder: decides what the quickstart keeps on disk, all of it in one folder:
 *
 *     relay.yaml  tunnel.yaml   written anew by each start
 *     state/                    the relay's: its CA, its token records
 *     token                     0600, the client's credential
 *     relay.log  tunnel.log     of the last start
 *     sallyport/                the running client's status socket
 *
 * The CA, the token and the ports stay the same from start to start, and with them the public URL; a port that another
 * program has taken meanwhile is the one thing that changes it. Owns the folder. Used by: quickstart.ts.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { makePrivateFolder, writeFileAtomic } from '../../shared/files/atomic-file.js';
import { readTextFile } from '../../shared/files/bounded-file.js';
import { parseToken } from '../../shared/token.js';
import { localCaFile } from '../certs/local-authority.js';
import { type RelayListeners, readRelayConfig } from '../relay-config.js';
import { makeGrants } from '../sessions/grants.js';
import { type IssuedToken, TokenStore } from '../sessions/token-store.js';
import { choosePorts } from './choose-ports.js';

const DOMAIN = 'relay.localhost';
const TOKEN_NAME = 'quickstart';
const FIRST_HTTPS = 8443;
const FIRST_HTTP = 8080;
const FIRST_ADMIN = 9180;
/** Open pages keep their WebSockets for ever, and who types Ctrl-C does not want to wait for them. */
const DRAIN = 'drain_timeout: 1s';
const HEAD = '# Written by the quickstart, anew with each start.';

export interface QuickstartFolder {
  readonly relayConfig: string;
  readonly tunnelConfig: string;
  /** PEM file of the CA that visitors must trust. */
  readonly caFile: string;
  readonly relayLog: string;
  readonly tunnelLog: string;
}

/**
 * Makes the folder, or brings an earlier one up to date.
 * @param originUrl where the client forwards to.
 * @throws {TunnelError} CONFIG_INVALID when the disk refuses.
 */
export async function prepareFolder(folder: string, originUrl: string): Promise<QuickstartFolder> {
  makePrivateFolder(folder);
  const stateDir = join(folder, 'state');
  const relayConfig = join(folder, 'relay.yaml');
  const tunnelConfig = join(folder, 'tunnel.yaml');
  const earlier = listenersOf(relayConfig);
  const [https = 0, http = 0, admin = 0] = await choosePorts([
    wish(earlier?.https.port, FIRST_HTTPS),
    wish(earlier?.http?.port, FIRST_HTTP),
    wish(earlier?.admin?.port, FIRST_ADMIN),
  ]);
  ensureToken(stateDir, join(folder, 'token'));
  writeFileAtomic(relayConfig, relayText(https, http, admin));
  writeFileAtomic(tunnelConfig, tunnelText(https, originUrl));
  return {
    relayConfig,
    tunnelConfig,
    caFile: localCaFile(stateDir),
    relayLog: join(folder, 'relay.log'),
    tunnelLog: join(folder, 'tunnel.log'),
  };
}

function wish(earlier: number | undefined, first: number): number[] {
  return earlier === undefined ? [first] : [earlier, first];
}

/** Where the last start listened; undefined when there was none, or when somebody broke its file. */
function listenersOf(relayConfig: string): RelayListeners | undefined {
  if (!existsSync(relayConfig)) return undefined;
  try {
    return readRelayConfig(relayConfig).listen;
  } catch {
    return undefined;
  }
}

/** The client's token file fits the relay's record of it, or both are made anew. */
function ensureToken(stateDir: string, tokenFile: string): void {
  const store = TokenStore.open(stateDir);
  const known = store.list().find(({ name }) => name === TOKEN_NAME);
  if (known !== undefined && known.id === tokenIdIn(tokenFile)) return;
  const issued = known === undefined ? createToken(store) : store.rotate(TOKEN_NAME);
  writeFileAtomic(tokenFile, `${issued.text.reveal()}\n`);
}

function createToken(store: TokenStore): IssuedToken {
  return store.create(TOKEN_NAME, makeGrants([`*.${DOMAIN}`], []));
}

function tokenIdIn(tokenFile: string): string | undefined {
  try {
    return parseToken(readTextFile(tokenFile).text).id;
  } catch {
    return undefined;
  }
}

function relayText(https: number, http: number, admin: number): string {
  const listen = `{ https: "127.0.0.1:${https}", http: "127.0.0.1:${http}", admin: "127.0.0.1:${admin}" }`;
  return lines(HEAD, `domain: ${DOMAIN}`, `listen: ${listen}`, 'state_dir: state', DRAIN);
}

function tunnelText(https: number, originUrl: string): string {
  return lines(
    HEAD,
    `relay_url: https://${DOMAIN}:${https}`,
    `relay_address: 127.0.0.1:${https} # not every system resolves names under .localhost`,
    'relay_ca_file: state/local-ca/ca.pem',
    'token_file: token',
    DRAIN,
    'tunnels:',
    `  - { name: hello, host: hello.${DOMAIN}, origin: "${originUrl}" }`,
  );
}

function lines(...texts: string[]): string {
  return `${texts.join('\n')}\n`;
}
