/**
 * HttpChannels: the webhook, which gets an alert as JSON, and ntfy, which gets a title, a text and a priority
 * (docs.ntfy.sh/publish). Both are one POST: no redirects, bounded in time, and of the answer only the status counts.
 */
import { once } from 'node:events';
import { type IncomingMessage, type OutgoingHttpHeaders, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { Secret } from '../../../shared/secret.js';
import { AGENT } from '../../../shared/version.js';
import { type Alert, isUrgent } from './alert.js';
import { type Channel, DeliveryError } from './channel.js';

const POST_MS = 10_000;
/** Answers that ask for another try: timeouts, "too many requests", and whatever is the server's own trouble. */
const RETRIED: ReadonlySet<number> = new Set([408, 425, 429]);
const OTHER_THAN_ASCII = /[^\x20-\x7e]/g;

/** POSTs `{event, relay, subject, title, text, cure, at}`. */
export function webhookChannel(url: Secret): Channel {
  return {
    name: 'webhook',
    send: (alert, signal) => {
      const { atMs, ...same } = alert;
      const body = JSON.stringify({ ...same, at: new Date(atMs).toISOString() });
      return post(url, { 'Content-Type': 'application/json' }, body, signal);
    },
  };
}

/** Publishes to the topic that the URL names. */
export function ntfyChannel(url: Secret, token: Secret | undefined): Channel {
  return {
    name: 'ntfy',
    send: (alert, signal) => {
      const fields = {
        'Content-Type': 'text/plain; charset=utf-8',
        Title: alert.title.replaceAll(OTHER_THAN_ASCII, '?'),
        Priority: isUrgent(alert.event) ? 'high' : 'default',
        Tags: tagOf(alert),
        ...(token === undefined ? {} : { Authorization: `Bearer ${token.reveal()}` }),
      };
      return post(url, fields, textOf(alert), signal);
    },
  };
}

/** The text of an alert for people. */
export function textOf({ text, cure, relay, atMs }: Alert): string {
  const lines = [text, ...(cure === '' ? [] : [`→ ${cure}`]), `Relay ${relay}, ${new Date(atMs).toISOString()}`];
  return `${lines.join('\n')}\n`;
}

function tagOf({ event }: Alert): string {
  if (event === 'test') return 'test_tube';
  return isUrgent(event) ? 'warning' : event === 'client-address' ? 'information_source' : 'white_check_mark';
}

async function post(url: Secret, headers: OutgoingHttpHeaders, body: string, outer: AbortSignal): Promise<void> {
  const target = new URL(url.reveal());
  const signal = AbortSignal.any([outer, AbortSignal.timeout(POST_MS)]);
  const request = target.protocol === 'https:' ? requestHttps : requestHttp;
  const asked = request(target, {
    method: 'POST',
    headers: { ...headers, 'User-Agent': AGENT, 'Content-Length': Buffer.byteLength(body) },
    agent: false,
    signal,
  });
  asked.on('error', () => {});
  asked.end(body);
  try {
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    judge(response.statusCode ?? 0);
  } catch (error) {
    outer.throwIfAborted();
    if (error instanceof DeliveryError) throw error;
    // The system's word alone: messages of Node may hold the URL.
    const word = signal.aborted ? `no answer in ${POST_MS} ms` : ((error as NodeJS.ErrnoException).code ?? 'failed');
    throw new DeliveryError(word, true);
  } finally {
    asked.destroy();
  }
}

function judge(status: number): void {
  if (status >= 200 && status <= 299) return;
  throw new DeliveryError(`it answered ${status}`, status >= 500 || RETRIED.has(status));
}
