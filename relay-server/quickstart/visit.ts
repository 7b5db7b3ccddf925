/**
 * Visit: one visitor of our own, who trusts one CA and goes to loopback whatever the name resolves to. Owns nothing.
 */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { get } from 'node:https';

const TIMEOUT_MS = 10_000;

export interface VisitResult {
  /** The HTTP status of the answer. */
  readonly status: number;
  /** From the first packet to the last byte of the answer, in milliseconds. */
  readonly ms: number;
}

/**
 * Asks for `url` on 127.0.0.1 and reads the whole answer.
 * @param ca PEM of the CA that alone is trusted.
 * @throws the system's or TLS's error, or a TimeoutError after 10 s.
 */
export async function visit(url: URL, ca: string): Promise<VisitResult> {
  const startedAt = performance.now();
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const { hostname, port, host, pathname } = url;
  const fields = { host, accept: 'text/html' };
  const request = get({
    host: '127.0.0.1',
    port,
    path: pathname,
    servername: hostname,
    headers: fields,
    ca,
    agent: false,
    signal,
  });
  // Once the answer has begun, a failure also ends the answer, and that is where it is seen.
  request.on('error', () => {});
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  for await (const _chunk of response);
  return { status: response.statusCode ?? 0, ms: Math.round(performance.now() - startedAt) };
}
