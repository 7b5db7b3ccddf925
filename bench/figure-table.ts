/**
 * FigureTable: one figure as a Markdown table: a line for each contestant, a column for each measure, and how it stands
 * beside the first line.
 */
import type { Measure } from './figure.js';
import type { ContestantResult, FigureResult } from './result.js';
import { type Spread, spreadOf } from './spread.js';

/** The table with its title, what else the machine did meanwhile, and a line for each that is missing. */
export function figureTable({ figure, reference, contestants, absent }: FigureResult): string {
  const head = ['subject', ...figure.measures.flatMap((measure) => headCells(measure, reference)), 'by program'];
  const partsOf = figure.measures.find(({ name }) => name === (figure.partsOf ?? 'cpu'));
  const rows = contestants.map((contestant) => [
    `${contestant.name}: ${contestant.what}`,
    ...figure.measures.flatMap((measure) => cells(measure, contestant)),
    partsText(contestant, partsOf?.digits ?? 2),
  ]);
  const lines = [head, head.map(() => '---'), ...rows].map((line) => `| ${line.join(' | ')} |\n`);
  const missing = absent.map(({ name, reason }) => `- ${name} is missing: ${reason}\n`);
  const notes = [...missing, ...othersNotes(contestants)];
  return `### ${figure.title}\n\n${lines.join('')}${notes.length === 0 ? '' : `\n${notes.join('')}`}`;
}

/** Rates are those of this machine only while nobody else uses it. */
function othersNotes(contestants: readonly ContestantResult[]): string[] {
  const shares = contestants.flatMap(({ rounds }) => rounds.map(({ others }) => others * 100));
  if (shares.length === 0) return [];
  const { median, max } = spreadOf(shares);
  return [`- programs outside the bench used ${median.toFixed(0)} % of the machine, at most ${max.toFixed(0)} %\n`];
}

function headCells({ title, beside }: Measure, reference: string): string[] {
  if (beside === undefined) return [title];
  return [title, beside === 'ratio' ? `× ${reference}` : `over ${reference}`];
}

function cells({ name, digits, beside }: Measure, contestant: ContestantResult): string[] {
  const own = withSpread(contestant.values[name], digits);
  return beside === undefined ? [own] : [own, withSpread(contestant.beside[name], 2)];
}

function partsText({ parts }: ContestantResult, digits: number): string {
  return Object.entries(parts)
    .map(([part, spread]) => `${part} ${spread.median.toFixed(digits)}`)
    .join(', ');
}

function withSpread(spread: Spread | undefined, digits: number): string {
  if (spread === undefined) return '';
  const { median, min, max } = spread;
  return `**${median.toFixed(digits)}** (${min.toFixed(digits)}–${max.toFixed(digits)})`;
}
