/** The two public listeners that a CA looks at, as thin as the challenges need them. */
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import type { TestContext } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { HttpSolver } from '../../shared/certs/http-solver.js';
import { ACME_ALPN, TlsAlpnSolver } from '../../shared/certs/tls-alpn-solver.js';

export interface AcmePorts {
  readonly tlsAlpn: TlsAlpnSolver;
  readonly http: HttpSolver;
  readonly tlsPort: number;
  readonly httpPort: number;
  /** What the CA asked, in order: `tls-alpn-01 app.example.com`. */
  readonly asked: string[];
}

/** Opens both for the test. */
export async function openAcmePorts(t: Pick<TestContext, 'after'>): Promise<AcmePorts> {
  const [tlsAlpn, http, asked] = [new TlsAlpnSolver(), new HttpSolver(), [] as string[]];
  const tlsServer = createTlsServer({
    ALPNProtocols: [ACME_ALPN],
    SNICallback: (name, done) => {
      asked.push(`tls-alpn-01 ${name}`);
      done(null, tlsAlpn.contextFor(name));
    },
  });
  tlsServer.on('secureConnection', (socket) => socket.on('error', () => {}));
  tlsServer.on('tlsClientError', () => {});
  const httpServer = createHttpServer((request, response) => {
    const hostname = (request.headers.host ?? '').replace(/:\d+$/, '');
    asked.push(`http-01 ${hostname}`);
    const body = http.answer(hostname, request.url ?? '');
    response.writeHead(body === undefined ? 404 : 200).end(body);
  });
  const [tlsPort, httpPort] = [await listen(t, tlsServer), await listen(t, httpServer)];
  return { tlsAlpn, http, tlsPort, httpPort, asked };
}

async function listen(t: Pick<TestContext, 'after'>, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}
