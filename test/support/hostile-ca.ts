/** A CA that answers as the test likes: it checks no signature, and calls every order ready. */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryFolder } from './temporary-folder.js';
import { testCertificate } from './test-certificate.js';

export interface HostileCa {
  readonly directoryUrl: string;
  /** File of the root that signed its own certificate. */
  readonly caFile: string;
  /** Members of what it answers, by path (`/order`, `/authz` …), in place of the honest ones. */
  readonly answers: Map<string, object>;
  /** The body of `/cert`, as a chain; the honest answer has none. */
  chain: (csr: Buffer) => string | Promise<string>;
  /** Paths that were asked for. */
  readonly asked: string[];
}

/** @param hostname of its orders. */
export async function startHostileCa(t: TestContext, hostname: string): Promise<HostileCa> {
  const { key, cert, ca } = await testCertificate();
  const caFile = join(temporaryFolder(t), 'ca.pem');
  writeFileSync(caFile, ca);
  const answers = new Map<string, object>();
  const asked: string[] = [];
  let csr: Buffer = Buffer.alloc(0);
  const server = createServer({ key, cert }, async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const path = request.url ?? '';
    asked.push(path);
    response.setHeader('Replay-Nonce', 'bm9uY2U');
    response.setHeader('Location', `${base}${path === '/new-order' ? '/order' : '/account'}`);
    if (path === '/finalize') csr = csrIn(Buffer.concat(pieces));
    if (path === '/cert') {
      response.setHeader('Content-Type', 'application/pem-certificate-chain');
      response.end(await hostile.chain(csr));
      return;
    }
    response.setHeader('Content-Type', 'application/json');
    response.statusCode = path === '/new-order' || path === '/new-account' ? 201 : 200;
    const state = csr.length > 0 ? 'valid' : 'ready';
    const honest = { ...honestAnswer(base, hostname, state)[path === '/new-order' ? '/order' : path] };
    response.end(JSON.stringify({ ...honest, ...answers.get(path === '/new-order' ? '/order' : path) }));
  });
  server.listen(0, 'localhost');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const base = `https://localhost:${(server.address() as AddressInfo).port}`;
  const hostile: HostileCa = { directoryUrl: `${base}/directory`, caFile, answers, asked, chain: () => '' };
  return hostile;
}

function honestAnswer(base: string, hostname: string, status: string): Record<string, object> {
  return {
    '/directory': {
      newNonce: `${base}/nonce`,
      newAccount: `${base}/new-account`,
      newOrder: `${base}/new-order`,
      keyChange: `${base}/key-change`,
    },
    '/new-account': { status: 'valid' },
    '/order': {
      status,
      authorizations: [`${base}/authz`],
      finalize: `${base}/finalize`,
      certificate: `${base}/cert`,
    },
    '/finalize': { status: 'valid', authorizations: [], finalize: `${base}/finalize`, certificate: `${base}/cert` },
    '/authz': { status: 'valid', identifier: { type: 'dns', value: hostname }, challenges: [] },
  };
}

/** RFC 8555 §7.4, in a signed request (RFC 8555 §6.2). */
function csrIn(body: Buffer): Buffer {
  const { payload } = JSON.parse(body.toString()) as { payload: string };
  const { csr } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { csr: string };
  return Buffer.from(csr, 'base64url');
}
