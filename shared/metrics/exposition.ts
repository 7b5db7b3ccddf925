/**
 * Exposition: metrics as the text that Prometheus reads (text format 0.0.4). It decides how names, labels and values are
 * written; which metrics there are is the programs' business. Everything is read when somebody asks, so nothing is
 * registered and a tunnel that is gone leaves no series behind.
 */
import { BUCKETS_MS, type Histogram } from './histogram.js';

/** The media type of the text. */
export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export type Labels = Readonly<Record<string, string>>;
/** A value and what it belongs to. */
export type Sample<Value = number> = readonly [value: Value, labels?: Labels];

export class Exposition {
  readonly #lines: string[] = [];

  /** Something that only grows; its name ends in `_total`. */
  counter(name: string, help: string, samples: Iterable<Sample>): void {
    this.#family(name, 'counter', help, samples);
  }

  /** Something that goes up and down. */
  gauge(name: string, help: string, samples: Iterable<Sample>): void {
    this.#family(name, 'gauge', help, samples);
  }

  /** Durations; the name ends in `_seconds`. */
  histogram(name: string, help: string, samples: Iterable<Sample<Histogram>>): void {
    this.#head(name, 'histogram', help);
    for (const [histogram, labels = {}] of samples) {
      const counts = histogram.cumulative();
      counts.forEach((count, at) => {
        const end = BUCKETS_MS[at];
        this.#sample(`${name}_bucket`, count, { ...labels, le: end === undefined ? '+Inf' : String(end / 1_000) });
      });
      this.#sample(`${name}_sum`, histogram.sumMs / 1_000, labels);
      this.#sample(`${name}_count`, counts.at(-1) ?? 0, labels);
    }
  }

  /** All of it. */
  get text(): string {
    return `${this.#lines.join('\n')}\n`;
  }

  #family(name: string, type: string, help: string, samples: Iterable<Sample>): void {
    this.#head(name, type, help);
    for (const [value, labels = {}] of samples) this.#sample(name, value, labels);
  }

  #head(name: string, type: string, help: string): void {
    this.#lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
  }

  #sample(name: string, value: number, labels: Labels): void {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
    this.#lines.push(`${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}`);
  }
}

/** A label's value: only these three characters mean something in it. */
function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
