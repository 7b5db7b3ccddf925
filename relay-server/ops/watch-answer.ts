/**
 * WatchAnswer: `GET /api/v1/requests/ID?host=HOST` of the admin listener, with which `relay why` follows a request. The
 * head of the answer says that the relay looks out for it; the body follows once the request was answered.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { asTunnelError } from '../../shared/errors.js';
import { normaliseHostname } from '../../shared/hostname.js';
import type { TraceOutcome } from './traces.js';

/** What it needs of the relay. */
export interface WatchSubject {
  /** How the request with this id fares. */
  watch?(id: string, host: string): Promise<TraceOutcome>;
}

const WATCH_PATH = /^\/api\/v1\/requests\/([\w-]{1,64})\?host=([^&]{1,300})$/;

/** Answers when the request is such a question; false when it is none. */
export function answerWatch(request: IncomingMessage, response: ServerResponse, subject: WatchSubject): boolean {
  const [, id, host] = WATCH_PATH.exec(request.url ?? '') ?? [];
  if (id === undefined || host === undefined || request.method !== 'GET' || subject.watch === undefined) return false;
  void answerLater(response, async () => subject.watch?.(id, normaliseHostname(decodeURIComponent(host))));
  return true;
}

async function answerLater(response: ServerResponse, watch: () => Promise<unknown>): Promise<void> {
  const outcome = watch().catch((error: unknown) => {
    const { code, message } = asTunnelError(error);
    return { code, message, hops: [] };
  });
  response.writeHead(200, {
    'Content-Type': 'application/json; charset=utf-8',
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    Connection: 'close',
  });
  response.flushHeaders();
  response.end(`${JSON.stringify(await outcome)}\n`);
}
