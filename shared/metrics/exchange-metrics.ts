/**
 * ExchangeMetrics: what the HTTP exchanges of one tunnel add up to. Called at the end of every request: plain counters, no
 * allocation but for a status that is met for the first time.
 *
 * Owned by: the tunnel; it goes with it.
 */
import type { ExchangeRecord } from '../http/http-site.js';
import { CodeCounts } from './code-counts.js';
import type { Exposition, Labels, Sample } from './exposition.js';
import { Histogram } from './histogram.js';

/** Statuses of one tunnel that are counted apart; an origin that makes up more of them gets `other`. */
const MAX_STATUSES = 32;
const OTHER = -1;
const SWITCHING_PROTOCOLS = 101;

export class ExchangeMetrics {
  /** From request to the end of the response; upgraded connections, which last for hours, are left out. */
  readonly duration = new Histogram();
  readonly firstByte = new Histogram();
  /** Exchanges that failed, also by the visitor's leaving. */
  readonly failures = new CodeCounts();
  readonly #statuses = new Map<number, number>();

  note({ status, code, ms, firstByteMs }: ExchangeRecord): void {
    const known = this.#statuses.get(status);
    if (known !== undefined || this.#statuses.size < MAX_STATUSES) this.#statuses.set(status, (known ?? 0) + 1);
    else this.#statuses.set(OTHER, (this.#statuses.get(OTHER) ?? 0) + 1);
    if (code !== undefined) this.failures.count(code);
    if (firstByteMs !== undefined) this.firstByte.observe(firstByteMs);
    if (status !== SWITCHING_PROTOCOLS) this.duration.observe(ms);
  }

  /** How often each status was sent: `none` where no response began. */
  *statuses(): Generator<[status: string, count: number]> {
    for (const [status, count] of this.#statuses) yield [nameOf(status), count];
  }
}

/** Writes the four families of all tunnels; `prefix` is e.g. `sallyport_tunnel`. */
export function exposeExchanges(
  to: Exposition,
  prefix: string,
  tunnels: readonly (readonly [labels: Labels, metrics: ExchangeMetrics])[],
): void {
  const requests = tunnels.flatMap(([labels, metrics]) =>
    [...metrics.statuses()].map(([status, count]): Sample => [count, { ...labels, status }]),
  );
  to.counter(`${prefix}_requests_total`, 'HTTP requests that ended, by status; none: no response began', requests);
  const failures = tunnels.flatMap(([labels, { failures }]) => codeSamples(failures, labels));
  to.counter(`${prefix}_request_failures_total`, 'HTTP requests that failed, by code (docs/operations.md)', failures);
  const histograms = (pick: (metrics: ExchangeMetrics) => Histogram) =>
    tunnels.map(([labels, metrics]): Sample<Histogram> => [pick(metrics), labels]);
  to.histogram(
    `${prefix}_request_duration_seconds`,
    'From the whole head of a request to the last byte of its response, without upgraded connections',
    histograms((metrics) => metrics.duration),
  );
  to.histogram(
    `${prefix}_first_byte_seconds`,
    'From the whole head of a request to the head of its response',
    histograms((metrics) => metrics.firstByte),
  );
}

/** A sample for each code that happened. */
export function codeSamples(counts: CodeCounts, labels: Labels = {}): Sample[] {
  return [...counts.entries()].map(([code, count]): Sample => [count, { ...labels, code }]);
}

function nameOf(status: number): string {
  if (status === OTHER) return 'other';
  return status === 0 ? 'none' : String(status);
}
