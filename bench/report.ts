/**
 * Report: what a person (Markdown) and a program (JSON) read of a run.
 */
import { type GuardResult, isRegression } from './baseline.js';
import { figureTable } from './figure-table.js';
import type { MachineFacts } from './machine.js';
import type { RunResult } from './run.js';
import type { BenchSize } from './size.js';
import { judge, unjudged, type Verdict } from './target.js';

export interface Report extends RunResult {
  readonly machine: MachineFacts;
  readonly size: Pick<BenchSize, 'quick' | 'rounds'>;
  /** What the regression guard found; undefined when it did not look. */
  readonly guard: GuardResult | undefined;
  /** Every generated configuration by name. */
  readonly configs: ReadonlyMap<string, string>;
}

/** What was aimed at, one table for each figure, and the machine. */
export function toMarkdown(report: Report): string {
  const { figures, failed, machine } = report;
  const facts = Object.entries(machine).map(([name, value]) => `- ${name}: ${value}\n`);
  const failures = failed.map(({ figure, reason }) => `### ${figure.title}\n\nNot measured: ${reason}\n`);
  return [
    `# Bench, ${machine.date ?? ''}\n`,
    targetTable(verdictsOf(report)),
    ...(report.guard === undefined ? [] : [guardText(report.guard)]),
    '## Figures\n',
    `${howMany(report)}\n`,
    ...figures.map(figureTable),
    ...failures,
    '## Machine\n',
    facts.join(''),
  ].join('\n');
}

/** The generated configurations, as Markdown. */
export function configsToMarkdown(configs: ReadonlyMap<string, string>): string {
  const blocks = [...configs].map(([name, text]) => `### ${name}\n\n\`\`\`\n${text.trimEnd()}\n\`\`\`\n`);
  return `## Configurations\n\n${blocks.join('\n')}`;
}

/** Everything, with each round's samples. */
export function toJson(report: Report): string {
  const { machine, size, guard, failed } = report;
  const figures = report.figures.map(({ figure, contestants, absent }) => {
    const { name, title, measures } = figure;
    return { name, title, measures, contestants, absent };
  });
  const notMeasured = failed.map(({ figure, reason }) => ({ name: figure.name, reason }));
  const configs = Object.fromEntries(report.configs);
  const all = { machine, ...size, verdicts: verdictsOf(report), guard, figures, notMeasured, configs };
  return `${JSON.stringify(all, undefined, 2)}\n`;
}

function verdictsOf({ figures, failed }: RunResult): Verdict[] {
  return [...figures.flatMap(judge), ...failed.flatMap(({ figure }) => unjudged(figure))];
}

function targetTable(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(({ figure, target, measured, verdict }) => {
    return `| ${figure} | ${target} | ${measured === undefined ? '' : measured.toFixed(2)} | ${verdict} |\n`;
  });
  return `## Targets\n\n| figure | target | measured | verdict |\n| --- | --- | --- | --- |\n${rows.join('')}`;
}

function guardText({ baseline, comparisons }: GuardResult): string {
  const rows = comparisons.map((comparison) => {
    const { figure, name, was, now, loss, tolerated } = comparison;
    const verdict = tolerated === undefined ? 'information' : isRegression(comparison) ? 'lost' : 'held';
    const limit = tolerated === undefined ? '' : percent(tolerated);
    return `| ${figure} | ${name} | ${was.toFixed(2)} | ${now.toFixed(2)} | ${percent(loss)} | ${limit} | ${verdict} |\n`;
  });
  return `## Beside the baseline of ${baseline.date} (${baseline.machine}, Node ${baseline.node})

Sallyport's values as multiples of another subject's in the same run.

| figure | value | then | now | loss | tolerated | verdict |
| --- | --- | --- | --- | --- | --- | --- |
${rows.join('')}`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}

function howMany({ size }: Report): string {
  const few = size.quick ? ' of a quick run, shorter than those of a full one' : '';
  return `Medians of ${size.rounds} interleaved rounds${few} (least–greatest); ratios are taken within each round.`;
}
