/**
 * Report: what a person (Markdown) and a program (JSON) read of a run.
 */
import { type Figure, type FigureResult, type Spread, type SubjectResult, spreadOf } from './figure.js';
import type { MachineFacts } from './machine.js';

export interface Report {
  readonly machine: MachineFacts;
  readonly rounds: number;
  readonly figures: readonly FigureResult[];
}

/** One table for each figure, and the machine below. */
export function toMarkdown(report: Report): string {
  const facts = Object.entries(report.machine).map(([name, value]) => `${name} ${value}`);
  const how = `Medians of ${report.rounds} interleaved rounds (least–greatest); ratios are taken within each round.`;
  return `${report.figures.map(figureTable).join('\n')}\n${how}\n${othersLine(report)}\n${facts.join(' · ')}\n`;
}

/** Rates are those of this machine only while nobody else uses it. */
function othersLine(report: Report): string {
  const samples = report.figures.flatMap(({ subjects }) => subjects.flatMap(({ rounds }) => rounds));
  const { median, max } = spreadOf(samples.map(({ others }) => others * 100));
  return `Programs outside the bench used ${median.toFixed(0)} % of the machine meanwhile, at most ${max.toFixed(0)} %.`;
}

/** Everything, with each round's samples. */
export function toJson(report: Report): string {
  const figures = report.figures.map(({ figure, subjects }) => ({ ...named(figure), subjects }));
  return `${JSON.stringify({ machine: report.machine, rounds: report.rounds, figures }, undefined, 2)}\n`;
}

function named({ name, title, rateUnit, cpuUnit }: Figure): object {
  return { name, title, rateUnit, cpuUnit };
}

function figureTable({ figure, subjects }: FigureResult): string {
  const reference = subjects[0]?.subject ?? '';
  const head = ['subject', figure.rateUnit, `of ${reference}`, figure.cpuUnit, `× ${reference}`, 'where'];
  const lines = [head, head.map(() => '---'), ...subjects.map((result) => row(figure, result))];
  return `### ${figure.title}\n\n${lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}\n`;
}

function row(figure: Figure, result: SubjectResult): string[] {
  const { total, ...parts } = result.cpu;
  const where = Object.entries(parts).map(([part, spread]) => `${part} ${spread.median.toFixed(figure.cpuDigits)}`);
  return [
    `${result.subject}: ${result.what}`,
    withSpread(result.rate, figure.rateDigits),
    withSpread(result.rateRatio, 2),
    total === undefined ? '' : withSpread(total, figure.cpuDigits),
    withSpread(result.cpuRatio, 2),
    where.join(', '),
  ];
}

function withSpread({ median, min, max }: Spread, digits: number): string {
  return `**${median.toFixed(digits)}** (${min.toFixed(digits)}–${max.toFixed(digits)})`;
}
