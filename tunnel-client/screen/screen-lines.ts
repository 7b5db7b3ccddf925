/**
 * Screen lines: decides what the live screen says about a client, as lines of styled spans. Pure; LiveScreen paints them.
 *
 * Every text that came from the relay, an origin or a config file passes `printable` here, so no span can move a cursor.
 */

import {
  counted,
  displayWidth,
  fitted,
  padded,
  roundedBytes,
  roundedSpan,
} from '../../shared/command/terminal-text.js';
import { printable } from '../../shared/printable.js';
import type { Rate } from '../../shared/traffic-rates.js';
import { configLines } from '../config-text.js';
import { cureOf } from '../cures.js';
import { certificateText, isUsable, waitsForCertificate } from '../home/certificate-text.js';
import type { ClientState, ClientStatus, LastError, LinkStatus, TunnelStatus } from '../ops/client-status.js';

export type Style = 'plain' | 'bold' | 'dim' | 'good' | 'warn' | 'bad';

export type Span = readonly [style: Style, text: string];

export type Line = readonly Span[];

/** What a screen shows beside the snapshot. */
export interface ScreenFacts {
  /** Milliseconds since 1970, for the age of failures. */
  readonly nowMs: number;
  /** Reasons longer than this go on below. */
  readonly columns: number;
  rateOf(tunnelName: string): Rate;
}

/** A tunnel that works again shows its newest failure for so long. */
const FAILURE_SHOWN_MS = 5 * 60_000;
const LABEL_COLUMNS = 8;
/** What a wrapped line goes on with, and how many rows it may take: other tunnels have something to say, too. */
const INDENT = '    ';
const MAX_WRAPPED_ROWS = 6;

const SGR: Readonly<Record<Exclude<Style, 'plain'>, number>> = { bold: 1, dim: 2, good: 32, warn: 33, bad: 31 };

const STATE_STYLES: Readonly<Record<ClientState, Style>> = {
  stopped: 'dim',
  connecting: 'warn',
  handshaking: 'warn',
  serving: 'good',
  waiting: 'warn',
  failed: 'bad',
  stopping: 'dim',
};

const TUNNEL_STYLES: Readonly<Record<TunnelStatus['state'], Style>> = {
  claiming: 'warn',
  online: 'good',
  denied: 'bad',
  offline: 'dim',
};

/** The whole screen, from top to bottom. */
export function screenLines(status: ClientStatus, facts: ScreenFacts): Line[] {
  return [
    [['bold', `Sallyport ${printable(status.version)}`]],
    [label('Relay'), ['plain', printable(status.relay)]],
    stateLine(status),
    ...(status.state === 'serving' ? [linksLine(status.links)] : failureLines(status.lastError, facts)),
    ...configLines(status).flatMap((line) => wrapped([['warn', line]], facts.columns)),
    ...status.tunnels.flatMap((tunnel) => [[], ...tunnelLines(tunnel, facts)]),
  ];
}

/** One line as text of at most `columns`, with or without colours. */
export function paintLine(line: Line, columns: number, colors: boolean): string {
  let left = columns;
  let painted = '';
  for (const [style, text] of line) {
    const shown = fitted(text, left);
    painted += colors && style !== 'plain' && shown !== '' ? `\x1b[${SGR[style]}m${shown}\x1b[0m` : shown;
    // Once a span is cut the line is full, even where a wide character left one column empty.
    left = shown === text ? left - displayWidth(text) : 0;
  }
  return painted;
}

function label(text: string): Span {
  return ['dim', padded(text, LABEL_COLUMNS)];
}

function stateLine(status: ClientStatus): Line {
  const style = STATE_STYLES[status.state];
  const details = [`up ${roundedSpan(status.uptimeMs)}`];
  if (status.reconnects > 0) details.push(counted(status.reconnects, 'reconnect'));
  return [
    label('State'),
    [style, `● ${status.state}`],
    ['plain', countdown(status)],
    ['dim', ` · ${details.join(' · ')}`],
  ];
}

function countdown(status: ClientStatus): string {
  if (status.state !== 'waiting' || status.retryInMs === undefined) return '';
  return `, next attempt in ${Math.max(0, Math.ceil(status.retryInMs / 1_000))}s`;
}

function linksLine(links: readonly LinkStatus[]): Line {
  const texts = links.map((link) => {
    const rtt =
      link.rttMs === undefined ? '…' : `${link.rttMs < 10 ? link.rttMs.toFixed(1) : Math.round(link.rttMs)} ms`;
    return `${rtt} (${counted(link.streams, 'stream')})`;
  });
  return [label('Links'), ['plain', texts.join(' · ') || 'none']];
}

function tunnelLines(tunnel: TunnelStatus, facts: ScreenFacts): Line[] {
  const online = tunnel.state === 'online';
  const waits = online && waitsForCertificate(tunnel.certificate, facts.nowMs);
  const style = waits ? 'warn' : TUNNEL_STYLES[tunnel.state];
  const state = waits ? ' (up, waiting for its certificate)' : online ? '' : ` (${tunnel.state})`;
  const isRecent = tunnel.lastError !== undefined && facts.nowMs - tunnel.lastError.atMs < FAILURE_SHOWN_MS;
  return [
    [
      [style, `● ${printable(tunnel.name)}`],
      ['dim', state],
    ],
    [
      ['plain', '  '],
      [online ? 'bold' : 'dim', printable(tunnel.url)],
      ['plain', ` → ${printable(tunnel.origin)}`],
    ],
    ...certificateLines(tunnel, facts),
    trafficLine(tunnel, facts.rateOf(tunnel.name)),
    ...(isRecent || !online ? failureLines(tunnel.lastError, facts) : []),
  ];
}

function certificateLines({ certificate }: TunnelStatus, { nowMs, columns }: ScreenFacts): Line[] {
  if (certificate === undefined) return [];
  const style = isUsable(certificate, nowMs) && certificate.state !== 'waiting' ? 'dim' : 'warn';
  return wrapped([[style, `  end-to-end: ${certificateText(certificate, nowMs)}`]], columns);
}

function trafficLine(tunnel: TunnelStatus, rate: Rate): Line {
  const visitors = `${counted(tunnel.openStreams, 'visitor')} now, ${tunnel.totalStreams} in total`;
  const bytes = `in ${roundedBytes(rate.in)}/s · out ${roundedBytes(rate.out)}/s`;
  const failures = tunnel.failures === 0 ? '' : ` · ${counted(tunnel.failures, 'failure')}`;
  return [['dim', `  ${visitors} · ${bytes}${failures}`]];
}

/** The failure with its age, and its cure on the line below. */
function failureLines(error: LastError | undefined, facts: ScreenFacts): Line[] {
  if (error === undefined) return [];
  const age = ` (${roundedSpan(facts.nowMs - error.atMs)} ago)`;
  const failure: Line = [
    ['bad', `  ✗ ${printable(error.code)}`],
    ['dim', age],
    ['plain', ` ${printable(error.message)}`],
  ];
  const cure = cureOf(error.code, error.message);
  return [failure, ...(cure === undefined ? [] : [[['plain', `    ${cure}`]] satisfies Line])].flatMap((line) =>
    wrapped(line, facts.columns),
  );
}

/** A line broken between words where it is wider than the screen; a single word that is, is left to be cut. */
function wrapped(line: Line, columns: number): Line[] {
  const rows: Span[][] = [[]];
  let width = 0;
  for (const [style, text] of line) {
    for (const word of text.match(/ *[^ ]+| +/g) ?? []) {
      if (width > INDENT.length && width + displayWidth(word) > columns && rows.length < MAX_WRAPPED_ROWS) {
        rows.push([[style, INDENT + word.trimStart()]]);
        width = INDENT.length + displayWidth(word.trimStart());
      } else {
        rows.at(-1)?.push([style, word]);
        width += displayWidth(word);
      }
    }
  }
  return rows;
}
