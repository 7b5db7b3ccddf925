/**
 * `relay cert list | renew | import | rollover`: what the operator sees of certificates, and the few things that do not
 * happen by themselves.
 *
 * `list` and `renew` ask the running relay; `list` reads the state folder when none runs. `import` and `rollover` change
 * the state folder, beside a running relay or without one. Owns nothing.
 */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { AcmeService } from '../shared/certs/acme-service.js';
import { importCertbot } from '../shared/certs/certbot-import.js';
import { CertificateFiles } from '../shared/certs/certificate-files.js';
import { CertificateStore, IMPORTED_CA } from '../shared/certs/certificate-store.js';
import { type CertificateStatus, wildcardOf } from '../shared/certs/certificates.js';
import { asUsage, type CommandIo } from '../shared/command/command-io.js';
import { TunnelError } from '../shared/errors.js';
import { normalisePattern } from '../shared/hostname.js';
import { silentLog } from '../shared/log.js';
import { printable } from '../shared/printable.js';
import { askRelay } from './ask-relay.js';
import { configForVerb } from './config-for-verb.js';
import { type DoorOption, TCP_HELP } from './find-relay.js';
import { CONFIG_HELP, findRelayConfig } from './find-relay-config.js';
import { recordVerb } from './ops/audit/audit-verb.js';
import { type CertificateEntry, certificateEntry, formatCertificates } from './ops/certificate-report.js';
import { type RelayConfig, readRelayConfig } from './relay-config.js';
import { mayClaimHost } from './sessions/grants.js';
import { isExpired } from './sessions/token-record.js';
import { TokenStore } from './sessions/token-store.js';

const PATH = '/api/v1/certificates';
const ASK_MS = 5_000;
/** An order and its fallbacks. */
const RENEW_MS = 12 * 60_000;
/** For the lock of a name, and for each CA. */
const WORK_MS = 60_000;

export interface CertOptions extends DoorOption {
  /** Path of relay.yaml; the default place when left out. */
  readonly config?: string;
}

export interface CertListOptions extends CertOptions {
  readonly json?: boolean;
}

/** Adds the verbs to `relay`. */
export function addCertCommands(program: Command, io: CommandIo): void {
  const cert = program.command('cert').description('see certificates; renew, import, and change account keys');
  cert
    .command('list')
    .description('show every certificate, its next renewal, and what failed')
    .option('--json', 'print one array')
    .option('--tcp', TCP_HELP)
    .option('--config <file>', CONFIG_HELP)
    .action((options: CertListOptions) => runCertList(options, io));
  cert
    .command('renew <name>')
    .description('let the running relay replace a certificate now, also right after a failure')
    .option('--tcp', TCP_HELP)
    .option('--config <file>', CONFIG_HELP)
    .action((name: string, options: CertOptions) => runCertRenew(name, options, io));
  cert
    .command('import <folder>')
    .description('take a certificate that certbot got, e.g. /etc/letsencrypt/live/example.com')
    .option('--tcp', TCP_HELP)
    .option('--config <file>', CONFIG_HELP)
    .action((folder: string, options: CertOptions) => runCertImport(folder, options, io));
  cert
    .command('rollover')
    .description('give the accounts at the CAs new keys')
    .option('--config <file>', CONFIG_HELP)
    .action((options: CertOptions) => runCertRollover(options, io));
}

/** @throws {TunnelError} CONFIG_INVALID. */
export async function runCertList(options: CertListOptions, io: Pick<CommandIo, 'print' | 'note'>): Promise<void> {
  const config = configForVerb(options.config, ['state_dir', 'listen.admin', 'tls'], io);
  const entries =
    (await askRelay<CertificateEntry>(config, options, { method: 'GET', path: PATH, timeoutMs: ASK_MS })) ??
    storedEntries(config);
  if (options.json) io.print(JSON.stringify(entries.map(printableEntry), undefined, 2));
  else if (entries.length === 0)
    io.note('There is no certificate yet: they come when the relay starts and when hostnames are claimed.');
  else io.print(formatCertificates(entries));
}

/** What a CA wrote may stand in a terminal. */
function printableEntry(entry: CertificateEntry): CertificateEntry {
  return entry.lastError === null ? entry : { ...entry, lastError: printable(entry.lastError) };
}

/** @throws {TunnelError} CERTIFICATE_FAILED when the CA gives none; LINK_LOST when no relay runs; USAGE_INVALID. */
export async function runCertRenew(text: string, options: CertOptions, io: Pick<CommandIo, 'note'>): Promise<void> {
  const name = asUsage(() => normalisePattern(text, 'name'));
  const config = readRelayConfig(findRelayConfig(options.config));
  const path = `${PATH}/${encodeURIComponent(name)}/renew`;
  const entries = await askRelay<CertificateEntry>(config, options, { method: 'POST', path, timeoutMs: RENEW_MS });
  if (entries === undefined) {
    const cure = 'Start it: it renews what is due by itself';
    throw new TunnelError('LINK_LOST', `Cannot renew ${name}: the relay does not run. ${cure}.`);
  }
  const entryOf = (wanted: string) => entries.find((entry) => entry.name === wanted);
  const renewed = entryOf(name) ?? entryOf(wildcardOf(name));
  io.note(`Renewed ${renewed?.name ?? name}: valid until ${renewed?.notAfter ?? 'unknown'}.`);
}

/** @throws {TunnelError} CONFIG_INVALID when the folder cannot be used. */
export async function runCertImport(folder: string, options: CertOptions, io: Pick<CommandIo, 'note'>): Promise<void> {
  const config = acmeConfig(options);
  const store = CertificateStore.open(config.stateDir);
  const names = await importCertbot(store, IMPORTED_CA, resolve(folder), AbortSignal.timeout(WORK_MS));
  const question = { method: 'POST', path: `${PATH}/reload`, timeoutMs: ASK_MS } as const;
  const isRunning = (await askRelay(config, options, question)) !== undefined;
  const effect = isRunning ? 'The running relay uses it where it is newer' : 'The relay uses it when it starts';
  io.note(`Imported ${names.join(', ')}. ${effect}, and renews it when it is due.`);
  await recordVerb(config.auditLog, 'certificate-imported', { names, folder: resolve(folder) });
  const unused = names.filter((name) => !isUsed(name, config));
  if (unused.length > 0) io.note(`Not used now: no token may claim ${unused.join(', ')}.`);
}

function isUsed(name: string, { domain, acme, stateDir }: RelayConfig): boolean {
  // A wildcard serves whatever is claimed below it.
  if (name === domain || acme.wildcards.includes(name)) return true;
  const sample = name.replace(/^\*/, 'any');
  const tokens = TokenStore.read(stateDir);
  return tokens.some(
    (token) => !isExpired(token) && (mayClaimHost(token.grants, name) || mayClaimHost(token.grants, sample)),
  );
}

/** @throws {TunnelError} CERTIFICATE_FAILED when a CA cannot be asked; CONFIG_INVALID. */
export async function runCertRollover(options: CertOptions, io: Pick<CommandIo, 'note'>): Promise<void> {
  const config = acmeConfig(options);
  const service = AcmeService.open(config.acme, { stateDir: config.stateDir, log: silentLog });
  try {
    const cas = await service.replaceAccountKeys(AbortSignal.timeout(WORK_MS * config.acme.authorities.length));
    if (cas.length === 0) io.note('There is no account yet: it is made with the first certificate.');
    for (const ca of cas) io.note(`The account at ${ca} has a new key; the old one is worth nothing now.`);
    if (cas.length > 0) await recordVerb(config.auditLog, 'account-keys-replaced', { cas });
  } finally {
    service.close();
  }
}

function acmeConfig({ config: file }: CertOptions): RelayConfig {
  const config = readRelayConfig(findRelayConfig(file));
  if (config.tls.mode === 'acme') return config;
  throw new TunnelError('CONFIG_INVALID', `Cannot do that with tls.mode ${config.tls.mode}: it has no use for ACME.`);
}

function storedEntries(config: RelayConfig): readonly CertificateEntry[] {
  return storedStatuses(config).map(certificateEntry);
}

/** Without a relay: what it would start with. */
function storedStatuses({ tls, stateDir }: RelayConfig): readonly CertificateStatus[] {
  if (tls.mode === 'local-ca') return [];
  if (tls.mode === 'files') return listAndClose(CertificateFiles.open(tls.certificates));
  const stored = CertificateStore.open(stateDir).list();
  return stored.map(({ hostname, ca, notAfterMs, record }) => {
    const { renewAtMs, lastError, retryAtMs } = record;
    const state = (retryAtMs ?? 0) > Date.now() ? 'waiting' : 'valid';
    return { name: hostname, state, issuer: ca, notAfterMs, renewAtMs, lastError, retryAtMs };
  });
}

function listAndClose(files: CertificateFiles): readonly CertificateStatus[] {
  try {
    return files.list();
  } finally {
    files.close();
  }
}
