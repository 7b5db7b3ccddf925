/** Metrics as Prometheus reads them, and the tool that judges their text. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import type { TestContext } from 'node:test';
import { runTool } from './tool-process.js';

const SAMPLE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** The samples of a text, read more strictly than needed: what is no sample and no comment is a failure. */
export class Scrape {
  readonly text: string;
  readonly samples: { readonly name: string; readonly labels: Record<string, string>; readonly value: number }[] = [];

  constructor(text: string) {
    this.text = text;
    for (const line of text.trimEnd().split('\n')) {
      if (line.startsWith('# ')) continue;
      const [, name = '', labels = '', value = ''] = SAMPLE.exec(line) ?? assert.fail(`no sample: ${line}`);
      const pairs = [...labels.matchAll(LABEL)].map(([, label = '', text = '']) => [label, text] as const);
      this.samples.push({ name, labels: Object.fromEntries(pairs), value: Number(value) });
    }
  }

  /** The sum of all samples of this name that have these labels; undefined when there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const found = this.samples.filter(
      (sample) => sample.name === name && Object.entries(labels).every(([key, text]) => sample.labels[key] === text),
    );
    return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0);
  }

  /** Every value of a label. */
  labels(label: string): Set<string> {
    return new Set(this.samples.flatMap(({ labels }) => labels[label] ?? []));
  }
}

/** What a listener on this port of loopback says at /metrics. */
export async function scrape(port: number): Promise<Scrape> {
  const asked = get({ host: '127.0.0.1', port, path: '/metrics', agent: false });
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  let text = '';
  for await (const piece of response.setEncoding('utf8')) text += piece;
  assert.equal(response.statusCode, 200, text);
  assert.equal(response.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  return new Scrape(text);
}

/** Fails unless promtool has no complaint. */
export async function lint(t: Pick<TestContext, 'after'>, promtool: string, { text }: Scrape): Promise<void> {
  const { code, stdout, stderr } = await runTool(t, promtool, ['check', 'metrics'], text);
  assert.equal(code, 0, `${stdout}${stderr}`);
  assert.equal(`${stdout}${stderr}`, '');
}
