/** Pebble behind a proxy that says in its directory, as public CAs do, by which name CAA records call it. */
import { createServer, request } from 'node:https';
import type { TestContext } from 'node:test';
import { endConnections, listen } from './origins.js';
import type { Pebble } from './pebble.js';

/** The name in CAA records. */
export const CAA_IDENTITY = 'pebble.example';

/** Starts it; the directory's URL. Its certificate is signed by pebble's CA. */
export async function startCaaPebble(t: Pick<TestContext, 'after'>, { port, ca }: Pebble): Promise<string> {
  const server = createServer(await ca.issue('localhost'), (asked, response) => {
    const { method, url, headers } = asked;
    // The Host stays: pebble makes its URLs of it, and looks for it in what clients sign.
    const sent = request({ host: 'localhost', port, ca: ca.certPem, method, path: url, headers }, (answer) => {
      const pieces: Buffer[] = [];
      answer.on('data', (piece: Buffer) => pieces.push(piece));
      answer.on('end', () => {
        const body = Buffer.concat(pieces);
        const { 'content-length': _length, ...fields } = answer.headers;
        response.writeHead(answer.statusCode ?? 502, fields).end(url === '/dir' ? withIdentity(body) : body);
      });
    });
    sent.on('error', () => response.destroy());
    asked.pipe(sent);
  });
  endConnections(t, server);
  return `https://localhost:${await listen(t, server)}/dir`;
}

function withIdentity(directory: Buffer): string {
  const { meta, ...rest } = JSON.parse(directory.toString());
  return JSON.stringify({ ...rest, meta: { ...meta, caaIdentities: [CAA_IDENTITY] } });
}
