/**
 * `tunnel status`: shows every running client of this user, as a table or as JSON.
 */
import type { Command } from 'commander';
import type { CommandIo } from '../shared/command/command-io.js';
import { counted, roundedBytes, roundedSpan, tableLines } from '../shared/command/terminal-text.js';
import { type WatchOptions, watchView } from '../shared/command/watch-view.js';
import { exitOf, TunnelError } from '../shared/errors.js';
import { printable } from '../shared/printable.js';
import { rateCells, TrafficRates } from '../shared/traffic-rates.js';
import { configLines } from './config-text.js';
import { cureOf } from './cures.js';
import { CAA_ADVICE, CAA_UNNAMED, certificateText, waitsForCertificate } from './home/certificate-text.js';
import type { ClientStatus, LastError, TunnelStatus } from './ops/client-status.js';
import { readAllStatuses } from './ops/status-socket.js';

export interface StatusOptions extends WatchOptions {
  /** Where the status sockets are; by default the folder of this user. */
  readonly folder?: string;
}

/** EX_UNAVAILABLE: clients run, but none of them has a session, or a tunnel was denied for what may pass. */
const EXIT_NOT_SERVING = 69;
/** EX_NOPERM: a tunnel was denied for good. */
const EXIT_DENIED = 77;

/** Adds the verb to `tunnel`. */
export function addStatusCommand(program: Command, io: CommandIo): void {
  program
    .command('status')
    .description('show the running clients of this user; exit code 0 when all tunnels are granted, else 69 or 77')
    .option('--json', 'print one object, or with --watch one per line')
    .option('--watch', 'show it every two seconds, with rates, until it is ended')
    .action(async (options: StatusOptions) => {
      process.exitCode = await runStatus(options, io);
    });
}

/**
 * Writes the status of every running client and returns the exit code, fit for a health check:
 * 0 when at least one serves and none of the tunnels is denied; 77 when one is denied for good (its token does not grant it);
 * 69 for everything else.
 * @throws {TunnelError} LINK_LOST (exit 69) when no client runs; with `json` the empty list is written before.
 */
export async function runStatus(options: StatusOptions, io: Pick<CommandIo, 'print'>): Promise<number> {
  if (options.watch) {
    await watchStatus(options, io);
    return 0;
  }
  const place = options.folder === undefined ? {} : { folder: options.folder };
  const clients = await readAllStatuses(place);
  if (options.json) io.print(printable(JSON.stringify({ clients })));
  if (clients.length === 0) throw noClient();
  if (!options.json) io.print(clients.map((client) => formatStatus(client, Date.now())).join('\n\n'));
  return exitOfClients(clients);
}

function exitOfClients(clients: readonly ClientStatus[]): number {
  const denied = clients.flatMap(({ tunnels }) => tunnels).filter(({ state }) => state === 'denied');
  if (denied.some(({ lastError }) => lastError !== undefined && exitOf(lastError.code) === EXIT_DENIED)) {
    return EXIT_DENIED;
  }
  if (denied.length > 0) return EXIT_NOT_SERVING;
  return clients.some(({ state }) => state === 'serving') ? 0 : EXIT_NOT_SERVING;
}

function noClient(): TunnelError {
  return new TunnelError(
    'LINK_LOST',
    'Cannot show a status: no client of this user is running. Start one with `tunnel up`.',
  );
}

/** As `runStatus` shows it, again and again; that no client runs is then no end. */
async function watchStatus(options: StatusOptions, io: Pick<CommandIo, 'print'>): Promise<void> {
  const place = options.folder === undefined ? {} : { folder: options.folder };
  const rates = new Map<number, TrafficRates>();
  const look = async () => {
    const clients = await readAllStatuses(place);
    if (options.json) return printable(JSON.stringify({ clients }));
    if (clients.length === 0) throw noClient();
    return clients.map((client) => formatStatus(client, Date.now(), ratesOf(client, rates))).join('\n\n');
  };
  await watchView(look, io, options);
}

function ratesOf({ pid, tunnels }: ClientStatus, all: Map<number, TrafficRates>): TrafficRates {
  const rates = all.get(pid) ?? new TrafficRates();
  all.set(pid, rates);
  rates.measure(tunnels, Date.now());
  return rates;
}

/** One client as text: a line about its session, a table of its tunnels, and what is wrong. */
export function formatStatus(client: ClientStatus, nowMs: number, rates?: TrafficRates): string {
  return [
    headLine(client),
    ...configLines(client).map((line) => `  ${line}`),
    ...(client.state === 'serving' ? [] : failureLines(client.lastError, nowMs)),
    ...tunnelTable(client.tunnels, nowMs, rates),
    ...client.tunnels.flatMap((tunnel) => certificateLines(tunnel, nowMs)),
    ...client.tunnels.flatMap((tunnel) => tunnelFailureLines(tunnel, nowMs)),
  ].join('\n');
}

function headLine(client: ClientStatus): string {
  const rtts = client.links.flatMap((link) => (link.rttMs === undefined ? [] : [`${link.rttMs.toFixed(1)} ms`]));
  const facts = [
    `${printable(client.relay)} ${printable(client.state)}`,
    `up ${roundedSpan(client.uptimeMs)}`,
    `${counted(client.links.length, 'link')}${rtts.length === 0 ? '' : ` (${rtts.join(', ')})`}`,
    counted(client.reconnects, 'reconnect'),
    `pid ${client.pid}`,
    `version ${printable(client.version)}`,
  ];
  return facts.join(', ');
}

function tunnelTable(tunnels: readonly TunnelStatus[], nowMs: number, rates?: TrafficRates): string[] {
  if (tunnels.length === 0) return ['  no tunnels'];
  const head = ['TUNNEL', 'STATE', 'PUBLIC URL', 'ORIGIN', 'TLS', 'VISITORS', 'IN', 'OUT', 'FAILURES'];
  if (rates === undefined) return indented([head, ...tunnels.map((tunnel) => tunnelRow(tunnel, nowMs))]);
  const rows = tunnels.map((tunnel) => [...tunnelRow(tunnel, nowMs), ...rateCells(rates.of(tunnel.name))]);
  return indented([[...head, 'IN/S', 'OUT/S'], ...rows]);
}

function indented(rows: readonly (readonly string[])[]): string[] {
  return tableLines(rows).map((line) => `  ${line}`);
}

function tunnelRow(tunnel: TunnelStatus, nowMs: number): string[] {
  return [
    printable(tunnel.name),
    tunnel.state === 'online' && waitsForCertificate(tunnel.certificate, nowMs)
      ? 'up, waiting for its certificate'
      : printable(tunnel.state),
    printable(tunnel.url),
    printable(tunnel.origin),
    tunnel.url.startsWith('https:') ? printable(tunnel.tls ?? '') : '–',
    `${tunnel.openStreams} of ${tunnel.totalStreams}`,
    roundedBytes(tunnel.bytesIn),
    roundedBytes(tunnel.bytesOut),
    String(tunnel.failures),
  ];
}

function certificateLines({ name, certificate }: TunnelStatus, nowMs: number): string[] {
  if (certificate === undefined) return [];
  const records = certificate.caa.map((record) => `    ${printable(record)}`);
  const none = certificate.isCaaUnnamed === true ? [`  ${printable(name)}: ${CAA_UNNAMED}`] : [];
  const advice = records.length === 0 ? none : [`  ${printable(name)}: ${CAA_ADVICE}`, ...records];
  return [`  ${printable(name)}: ${certificateText(certificate, nowMs)}`, ...advice];
}

function tunnelFailureLines(tunnel: TunnelStatus, nowMs: number): string[] {
  return failureLines(tunnel.lastError, nowMs).map((line) => `  ${printable(tunnel.name)}: ${line.trimStart()}`);
}

function failureLines(error: LastError | undefined, nowMs: number): string[] {
  if (error === undefined) return [];
  const failure = `  ${printable(error.code)} ${roundedSpan(nowMs - error.atMs)} ago: ${printable(error.message)}`;
  const cure = cureOf(error.code, error.message);
  return cure === undefined ? [failure] : [failure, `  ${cure}`];
}
