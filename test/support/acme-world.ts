/** A relay with tls.mode acme on free ports, and the CA that looks at these ports: pebble. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { dirname } from 'node:path';
import type { TestContext } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { freePort } from '../../bench/free-port.js';
import type { RelayOptions } from '../../relay-server/relay.js';
import type { Log } from '../../shared/log.js';
import { type Pebble, type PebbleOptions, startPebble } from './pebble.js';
import { DOMAIN, RelayHome } from './world.js';

export interface AcmeWorldOptions {
  /** Options of the section `acme`, as the inside of a YAML flow map. */
  readonly acme?: string;
  /** More lines for relay.yaml. */
  readonly yaml?: string;
  readonly hosts?: readonly string[];
  readonly log?: Log;
  readonly relay?: RelayOptions;
  readonly pebble?: PebbleOptions;
}

export interface AcmeWorld {
  readonly pebble: Pebble;
  readonly home: RelayHome;
  readonly https: number;
  readonly http: number;
}

/** Pebble runs, the relay not yet; undefined when pebble is missing and the test is skipped. */
export async function acmeWorld(t: TestContext, options: AcmeWorldOptions = {}): Promise<AcmeWorld | undefined> {
  const [https, http] = [await freePort(), await freePort()];
  const pebble = await startPebble(t, { tlsPort: https, httpPort: http, nonceReject: 0, ...options.pebble });
  if (!pebble) return undefined;
  return { pebble, home: await acmeHome(t, pebble, { ...options, https, http }), https, http };
}

/** Where a relay keeps its things that asks this CA; its clients trust what that CA issues. */
export async function acmeHome(
  t: TestContext,
  { directoryUrl, caFile, root }: Pick<Pebble, 'directoryUrl' | 'caFile' | 'root'>,
  options: AcmeWorldOptions & { readonly https: number; readonly http: number },
): Promise<RelayHome> {
  const acme = `directory_url: "${directoryUrl}", ca_file: "${caFile}"${options.acme ? `, ${options.acme}` : ''}`;
  const { hosts, log, relay, https: httpsPort, http: httpPort } = options;
  const home = new RelayHome(t, {
    yaml: `tls: { mode: acme }\nacme: { ${acme} }\n${options.yaml ?? ''}`,
    ...{ httpsPort, httpPort, adminPort: await freePort() },
    ...(hosts ? { hosts } : {}),
    ...(log ? { log } : {}),
    ...(relay ? { relay } : {}),
  });
  // Clients of the world trust the file of the local CA, which this mode has no use for.
  mkdirSync(dirname(home.caFile), { recursive: true });
  writeFileSync(home.caFile, await root());
  return home;
}

/** Names that pebble was asked for, in order, with an order each. */
export function ordersAt(pebble: Pebble): number {
  return pebble.process.lines.filter((line) => line.includes('Added order')).length;
}

/** What a GET at a plain port of this machine gets. */
export function getPlain(port: number, path: string, host = '127.0.0.1'): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, agent: false, headers: { host } }, (response) => {
      const pieces: Buffer[] = [];
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(pieces).toString() }));
    });
    sent.on('error', reject);
    sent.end();
  });
}

/** Whether a handshake with this name succeeds, and if not why; the certificate is looked at by nobody. */
export function handshake(port: number, servername: string, protocols?: string[]): Promise<TLSSocket | string> {
  return new Promise((resolve) => {
    const options = { host: '127.0.0.1', port, servername, rejectUnauthorized: false };
    const socket = connect({ ...options, ...(protocols ? { ALPNProtocols: protocols } : {}) });
    socket.once('secureConnect', () => resolve(socket));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

/** The serial number of the certificate that visitors of this name see now. */
export async function serialAt(port: number, servername: string = DOMAIN): Promise<string> {
  const socket = await handshake(port, servername);
  if (typeof socket === 'string') return socket;
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}
