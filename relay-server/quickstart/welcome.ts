/**
 * Welcome: decides what a person reads when the quickstart is up. Pure: facts in, text out.
 */
import { STATUS_CODES } from 'node:http';
import { tableLines } from '../../shared/command/terminal-text.js';
import type { VisitResult } from './visit.js';

export interface WelcomeFacts {
  readonly version: string;
  /** The folder that everything is written to. */
  readonly folder: string;
  readonly url: string;
  /** What our own visit brought; a text when it failed. */
  readonly visit: VisitResult | string;
  readonly caFile: string;
  /** Commands that show the status of relay and client. */
  readonly statusCommands: readonly string[];
  readonly logFiles: readonly string[];
}

/** The text, without the last line end. */
export function welcomeText(facts: WelcomeFacts): string {
  const [relayStatus = '', clientStatus = ''] = facts.statusCommands;
  const rows = tableLines([
    ['try', `curl --cacert ${facts.caFile} ${facts.url}`],
    ['browse', `open the URL; click through the warning, or trust ${facts.caFile} first`],
    ['status', relayStatus],
    ['', clientStatus],
    ['logs', facts.logFiles.join(' ')],
  ]);
  return [
    `Sallyport ${facts.version} runs on this machine, and writes only under ${facts.folder}/`,
    '',
    `  ${facts.url}`,
    `  ${visitText(facts.visit)}`,
    '',
    ...rows.map((row) => `  ${row}`),
    '',
    'Ctrl-C ends everything.',
  ].join('\n');
}

function visitText(visit: VisitResult | string): string {
  if (typeof visit === 'string') return `Checked: no answer. ${visit}`;
  const { status, ms } = visit;
  return `Checked: ${status} ${STATUS_CODES[status] ?? ''} in ${ms} ms, through relay and client to a sample origin.`;
}
