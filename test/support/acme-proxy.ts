/** A proxy in front of pebble: keeps which names were ordered, and does what pebble does not: names for CAA, refused names. */
import type { IncomingMessage } from 'node:http';
import { createServer, request } from 'node:https';
import type { TestContext } from 'node:test';
import { endConnections, listen } from './origins.js';
import type { Pebble } from './pebble.js';

const REFUSAL = JSON.stringify({
  type: 'urn:ietf:params:acme:error:rejectedIdentifier',
  detail: 'This name is forbidden by policy',
});

export interface AcmeProxy {
  readonly directoryUrl: string;
  /** Every name that somebody ordered, in turn; once each, because an order that a busy machine failed is repeated. */
  readonly ordered: readonly string[];
}

export interface AcmeProxyOptions {
  /** By which CAA records call the CA; said in the directory. */
  readonly caaIdentities?: readonly string[];
  /** Names that are no order's. */
  readonly refused?: readonly string[];
}

/** Starts it, with a certificate of pebble's CA. */
export async function startAcmeProxy(
  t: Pick<TestContext, 'after'>,
  { port, ca }: Pebble,
  { caaIdentities = [], refused = [] }: AcmeProxyOptions = {},
): Promise<AcmeProxy> {
  const ordered = new Set<string>();
  const server = createServer(await ca.issue('localhost'), async (asked, response) => {
    const { method, url, headers } = asked;
    const question = await bodyOf(asked);
    const names = namesIn(question);
    for (const name of names) ordered.add(name);
    if (names.some((name) => refused.includes(name))) {
      response.writeHead(400, { 'Content-Type': 'application/problem+json' }).end(REFUSAL);
      return;
    }
    // The Host stays: pebble makes its URLs of it, and looks for it in what clients sign.
    const sent = request({ host: 'localhost', port, ca: ca.certPem, method, path: url, headers }, async (answer) => {
      const body = await bodyOf(answer);
      const { 'content-length': _length, ...fields } = answer.headers;
      response.writeHead(answer.statusCode ?? 502, fields);
      response.end(url === '/dir' ? withIdentities(body, caaIdentities) : body);
    });
    sent.on('error', () => response.destroy());
    sent.end(question);
  });
  endConnections(t, server);
  return {
    directoryUrl: `https://localhost:${await listen(t, server)}/dir`,
    get ordered() {
      return [...ordered];
    },
  };
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of message) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Of a new order (RFC 8555 §7.4), which alone has identifiers in a request. */
function namesIn(question: Buffer): string[] {
  if (question.length === 0) return [];
  const text = Buffer.from(JSON.parse(question.toString()).payload, 'base64url').toString();
  const { identifiers = [] } = text === '' ? {} : JSON.parse(text);
  return identifiers.map(({ value }: { value: string }) => value);
}

function withIdentities(directory: Buffer, caaIdentities: readonly string[]): string {
  const { meta, ...rest } = JSON.parse(directory.toString());
  return JSON.stringify({ ...rest, meta: { ...meta, caaIdentities } });
}
