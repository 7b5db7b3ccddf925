/** Pebble, Let's Encrypt's test CA, strict and with a mocked DNS in which every name is this machine. */
import { writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { accepting, freePort } from '../../bench/free-port.js';
import { startTestDns } from './acme-dns.js';
import { requireTool } from './require-tool.js';
import { temporaryFolder } from './temporary-folder.js';
import { TestCa } from './test-ca.js';
import { ToolProcess } from './tool-process.js';
import { until } from './within.js';

export interface PebbleOptions {
  /** Where pebble connects to for TLS-ALPN-01 and HTTP-01; nobody listens there when left out. */
  readonly tlsPort?: number;
  readonly httpPort?: number;
  /** `host:port` of the DNS server; challtestsrv when left out. */
  readonly dnsServer?: string;
  /** kid → base64url key of external accounts, which are then required. */
  readonly externalAccounts?: Readonly<Record<string, string>>;
  /** Percentage of good nonces that are refused. */
  readonly nonceReject?: number;
  readonly env?: NodeJS.ProcessEnv;
  /** Life of what it issues; five years when left out. */
  readonly validitySeconds?: number;
  /** Port to listen on, for a CA that comes back. */
  readonly port?: number;
  readonly ca?: TestCa;
}

export interface Pebble {
  readonly directoryUrl: string;
  readonly port: number;
  /** What signs pebble's own TLS certificate. */
  readonly ca: TestCa;
  readonly caFile: string;
  readonly process: ToolProcess;
  /** PEM of the root that signs what it issues. */
  root(): Promise<string>;
}

/** Starts pebble; undefined when it is missing and the test is skipped. */
export async function startPebble(t: TestContext, options: PebbleOptions = {}): Promise<Pebble | undefined> {
  const pebble = requireTool(t, 'pebble', 'pebble');
  if (pebble === undefined) return undefined;
  const dnsServer = options.dnsServer ?? (await startTestDns(t))?.server;
  if (dnsServer === undefined) return undefined;
  const folder = temporaryFolder(t);
  const ca = options.ca ?? (await TestCa.make());
  const files = { ca: join(folder, 'ca.pem'), cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  const own = await ca.issue('localhost');
  writeFileSync(files.ca, ca.certPem);
  writeFileSync(files.cert, own.cert);
  writeFileSync(files.key, own.key);
  const [port, managementPort] = [options.port ?? (await freePort()), await freePort()];
  const config = join(folder, 'pebble.json');
  const settings = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${managementPort}`,
    certificate: files.cert,
    privateKey: files.key,
    httpPort: options.httpPort ?? 9,
    tlsPort: options.tlsPort ?? 9,
    ocspResponderURL: '',
    ...(options.validitySeconds === undefined ? {} : { certificateValidityPeriod: options.validitySeconds }),
    externalAccountBindingRequired: options.externalAccounts !== undefined,
    externalAccountMACKeys: options.externalAccounts ?? {},
  };
  writeFileSync(config, JSON.stringify({ pebble: settings }));
  const env = { PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: String(options.nonceReject ?? 50), ...options.env };
  const process = new ToolProcess(t, pebble, ['-config', config, '-dnsserver', dnsServer, '-strict'], env);
  await process.line('ACME directory available');
  await accepting(port);
  return {
    directoryUrl: `https://localhost:${port}/dir`,
    port,
    ca,
    caFile: files.ca,
    process,
    // It says that it is there before this second port is open.
    root: () => until('the root', () => get(`https://localhost:${managementPort}/roots/0`, ca.certPem).catch(refused)),
  };
}

function refused(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ECONNREFUSED') throw error;
}

function get(url: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = httpsRequest(url, { ca, agent: false }, (response) => {
      const pieces: Buffer[] = [];
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('end', () => resolve(Buffer.concat(pieces).toString()));
    });
    sent.on('error', reject);
    sent.end();
  });
}
