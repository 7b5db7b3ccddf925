/**
 * FetchJson: one request to a process of our own on this machine (admin listener, status socket), answered by JSON.
 *
 * It keeps no connection, follows no redirect, and bounds time and size: what answers may be hung, or something else.
 */
import { once } from 'node:events';
import { type IncomingMessage, type RequestOptions, request as sendRequest } from 'node:http';

export interface FetchLimits {
  /** For the whole exchange. */
  readonly timeoutMs: number;
  /** For the body. */
  readonly maxBytes: number;
}

/** An answer that is no success, with what its JSON said. */
export class JsonRefusal extends Error {
  readonly status: number;
  readonly body: unknown;

  constructor(status: number, body: unknown) {
    super(`its status is ${status}`);
    this.status = status;
    this.body = body;
  }
}

/**
 * The parsed body of a 200 answer to a GET, or to the method of `target`.
 * @throws the system's error (ECONNREFUSED, ENOENT …), a TimeoutError after `timeoutMs`, a JsonRefusal for a 409, or an
 *   Error that says what was wrong with the answer.
 */
export async function fetchJson(target: RequestOptions, limits: FetchLimits): Promise<unknown> {
  const signal = AbortSignal.timeout(limits.timeoutMs);
  try {
    const response = await askOnce({ ...target, signal });
    const body: unknown = JSON.parse(await readText(response, limits.maxBytes));
    if (response.statusCode === 409) throw new JsonRefusal(409, body);
    return body;
  } catch (error) {
    // What the deadline interrupts fails in many ways (aborted, ECONNRESET); all of them mean the same.
    throw signal.aborted ? signal.reason : error;
  }
}

async function askOnce(target: RequestOptions): Promise<IncomingMessage> {
  const request = sendRequest({ ...target, agent: false, headers: { accept: 'application/json', ...target.headers } });
  request.end();
  // Once the response has begun, a failure also ends the response, and that is where it is seen.
  request.on('error', () => {});
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  if (response.statusCode === 200 || response.statusCode === 409) return response;
  response.destroy();
  throw new Error(`Cannot use the answer: its status is ${response.statusCode}`);
}

async function readText(response: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    bytes += (chunk as Buffer).length;
    if (bytes > maxBytes) throw new Error(`Cannot use the answer: it is longer than ${maxBytes} bytes`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString();
}
