/** A visitor of an end-to-end tunnel who trusts one CA alone, by node:https. */
import { once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { VAULT } from './home-tls.js';
import { within } from './within.js';

export interface HomeAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** One GET on a connection of its own. Rejects when the certificate is not of this CA, or not for this host. */
export async function visitHome(port: number, ca: string, path = '/', host = VAULT): Promise<HomeAnswer> {
  const where = { host: '127.0.0.1', port, servername: host, ca, agent: false, headers: { Host: host }, path };
  const [response] = await within('response', once(request(where).end(), 'response'));
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() };
}
