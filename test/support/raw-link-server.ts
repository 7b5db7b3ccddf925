/** A server that answers a link's dial by hand: rightly, wrongly or not at all. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { dialLink, type Link } from '../../shared/link.js';
import type { Scheme } from './link-pair.js';
import { openingResponse, RawReader } from './raw-web-socket.js';
import { testCertificate } from './test-certificate.js';

export interface RawConnection {
  readonly socket: Socket;
  readonly reader: RawReader;
  /** The client's opening request. */
  readonly head: string;
}

export interface DialTestOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Trust the server's certificate; true unless told. */
  readonly trusted?: boolean;
}

/** Accepts the handshake. */
export function acceptLink({ socket, head }: RawConnection): void {
  socket.write(openingResponse(head));
}

export class RawLinkServer {
  readonly #port: number;
  readonly #scheme: Scheme;
  readonly #ca: string;
  /** Sockets that are open at the client's side. */
  readonly clientSockets: Socket[] = [];

  private constructor(port: number, scheme: Scheme, ca: string) {
    this.#port = port;
    this.#scheme = scheme;
    this.#ca = ca;
  }

  /** `answer` is called with each opening request. */
  static async listen(
    t: TestContext,
    scheme: Scheme,
    answer: (connection: RawConnection) => void,
  ): Promise<RawLinkServer> {
    const { ca, ...keyAndCertificate } = await testCertificate();
    const onSocket = (socket: Socket): void => {
      t.after(() => socket.destroy());
      socket.on('error', () => {});
      const reader = new RawReader(socket);
      void reader.head().then((head) => answer({ socket, reader, head }));
    };
    const server = scheme === 'https' ? createTlsServer(keyAndCertificate, onSocket) : createServer(onSocket);
    t.after(() => server.close());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new RawLinkServer((server.address() as AddressInfo).port, scheme, ca);
  }

  /** Somebody else's server, or what is left of it. */
  static at(server: Server): RawLinkServer {
    return new RawLinkServer((server.address() as AddressInfo).port, 'http', '');
  }

  dial({ trusted = true, ...options }: DialTestOptions = {}): Promise<Link> {
    const port = this.#port;
    return dialLink({
      url: new URL(`${this.#scheme}://localhost:${port}`),
      connect: () => {
        const to = { host: '127.0.0.1', port };
        const tlsOptions = { ...to, servername: 'localhost', ...(trusted ? { ca: this.#ca } : {}) };
        const socket = this.#scheme === 'https' ? connectTls(tlsOptions) : connect(to);
        this.clientSockets.push(socket);
        return socket;
      },
      timeoutMs: 5_000,
      agent: 'test/1',
      signal: new AbortController().signal,
      ...options,
    });
  }
}
