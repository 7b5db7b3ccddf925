/**
 * PlainOutput: decides what `tunnel up` writes on stdout when nobody watches a screen: lines for people, one JSON object
 * per event for programs (`--json`), or the public URLs alone for scripts (`--quiet`).
 *
 * The formatting functions are pure. Remote text is escaped in every mode.
 * Owns: one error listener on its output, for ever. Owned by: the `tunnel up` command.
 */
import type { ErrorCode } from '../../shared/errors.js';
import { printable } from '../../shared/printable.js';
import { cureOf } from '../cures.js';
import { CAA_ADVICE } from '../home/certificate-text.js';
import type { CertificateNews } from '../ops/client-status.js';

/** A failure as an event carries it. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
}

/** The tunnel can be visited at `url`. */
export interface UpEvent {
  readonly name: string;
  readonly url: string;
  /** The origin as the person wrote it. */
  readonly origin: string;
  /** Visitors are turned away until its certificate is there; the event `certificate` follows. */
  readonly waitsForCertificate?: true;
}

/** The tunnel can no longer be visited; without a failure when that was asked for. */
export interface DownEvent extends Partial<Failure> {
  readonly name: string;
  readonly url: string;
}

/** The relay refused to bind the tunnel. */
export interface DeniedEvent extends Failure {
  readonly name: string;
}

/** The certificate that a tunnel gets by itself was ordered, came, or did not. */
export interface CertificateEvent extends CertificateNews {
  readonly name: string;
}

/** The connection to the relay is gone; the next attempt begins in `retryInMs`. */
export interface ReconnectingEvent extends Failure {
  readonly retryInMs: number;
}

/** The client gave up and ends with `exitCode`. */
export interface FailedEvent extends Failure {
  readonly exitCode: number;
}

/** Everything that `tunnel up` reports, told apart by `event`. */
export type ClientEvent =
  | ({ readonly event: 'up' } & UpEvent)
  | ({ readonly event: 'down' } & DownEvent)
  | ({ readonly event: 'denied' } & DeniedEvent)
  | ({ readonly event: 'certificate' } & CertificateEvent)
  | ({ readonly event: 'reconnecting' } & ReconnectingEvent)
  | ({ readonly event: 'failed' } & FailedEvent)
  | { readonly event: 'stopped' };

export type OutputMode = 'plain' | 'json' | 'quiet';

/** What an output needs of stdout. */
export interface OutputStream {
  write(text: string): unknown;
  on(event: 'error', listener: () => void): unknown;
}

/** An output that writes on `stdout`; `now` gives milliseconds since 1970 for the time of JSON events. */
export function createOutput(mode: OutputMode, stdout: OutputStream, now: () => number = Date.now): PlainOutput {
  return new PlainOutput(mode, stdout, now);
}

export class PlainOutput {
  readonly #mode: OutputMode;
  readonly #stdout: OutputStream;
  readonly #now: () => number;
  /** The URLs that `--quiet` has printed: a reconnect must not print them again. */
  readonly #printed = new Set<string>();
  #state: 'open' | 'broken' = 'open';

  constructor(mode: OutputMode, stdout: OutputStream, now: () => number) {
    this.#mode = mode;
    this.#stdout = stdout;
    this.#now = now;
    // Whoever read stdout may leave (`tunnel up --quiet | head -1`); the tunnels stay.
    stdout.on('error', () => {
      this.#state = 'broken';
    });
  }

  up(event: UpEvent): void {
    this.#emit({ event: 'up', ...event });
  }

  down(event: DownEvent): void {
    this.#emit({ event: 'down', ...event });
  }

  denied(event: DeniedEvent): void {
    this.#emit({ event: 'denied', ...event });
  }

  certificate(event: CertificateEvent): void {
    this.#emit({ event: 'certificate', ...event });
  }

  reconnecting(event: ReconnectingEvent): void {
    this.#emit({ event: 'reconnecting', ...event });
  }

  failed(event: FailedEvent): void {
    this.#emit({ event: 'failed', ...event });
  }

  stopped(): void {
    this.#emit({ event: 'stopped' });
  }

  #emit(event: ClientEvent): void {
    const text = this.#format(event);
    if (text === undefined) return;
    for (const line of text.split('\n')) if (this.#state === 'open') this.#stdout.write(`${line}\n`);
  }

  #format(event: ClientEvent): string | undefined {
    if (this.#mode === 'json') return formatJson(event, this.#now());
    if (this.#mode === 'plain') return formatPlain(event);
    const url = formatQuiet(event);
    if (url === undefined || this.#printed.has(url)) return undefined;
    this.#printed.add(url);
    return url;
  }
}

/** One line of JSON: `time` (RFC 3339), `event`, and the facts of the event under their names. */
export function formatJson(event: ClientEvent, nowMs: number): string {
  return printable(JSON.stringify({ time: new Date(nowMs).toISOString(), ...event }));
}

/** The URL of a tunnel that came up; undefined for every other event. */
export function formatQuiet(event: ClientEvent): string | undefined {
  return event.event === 'up' ? printable(event.url) : undefined;
}

/** For people: one line; below a tunnel's first certificate the records that protect its name. */
export function formatPlain(event: ClientEvent): string {
  const records = event.event === 'certificate' ? event.caa : [];
  return [sentenceOf(event), ...(records.length > 0 ? [CAA_ADVICE, ...records] : [])].map(printable).join('\n');
}

function sentenceOf(event: ClientEvent): string {
  switch (event.event) {
    case 'up':
      return `${event.name} is up${event.waitsForCertificate ? ', waiting for its certificate' : ''}: ${event.url} -> ${event.origin}`;
    case 'down':
      return `${event.name} is down: ${event.url}${event.code === undefined ? '' : `, ${reasonOf(event.code, event.message)}`}`;
    case 'denied':
      return `${event.name} was denied: ${reasonOf(event.code, event.message)}`;
    case 'certificate':
      return certificateSentence(event);
    case 'reconnecting':
      return `reconnecting ${inSeconds(event.retryInMs)}: ${reasonOf(event.code, event.message)}`;
    case 'failed':
      return `failed: ${reasonOf(event.code, event.message)}`;
    case 'stopped':
      return 'stopped';
  }
}

function inSeconds(ms: number): string {
  const seconds = (ms / 1_000).toFixed(1);
  return seconds === '0.0' ? 'now' : `in ${seconds}s`;
}

function certificateSentence({ name, state, host, issuer, notAfter, error, retryAt }: CertificateEvent): string {
  if (state === 'issuing') return `${name} has no certificate yet: getting one for ${host}`;
  if (state === 'valid') return `${name} has a certificate for ${host} until ${notAfter}, from ${issuer}`;
  const rest = notAfter === undefined ? '' : ` The one until ${notAfter} serves on.`;
  return `${name} got no certificate: ${error} Next attempt: ${retryAt}.${rest}`;
}

function reasonOf(code: ErrorCode, message = ''): string {
  const cure = cureOf(code, message);
  return `${code}: ${message}${cure === undefined ? '' : ` (${cure})`}`;
}
