/** Origins for fault tests: they do what the test says with each connection, and remember which ones are open. */
import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

const MIB = Buffer.alloc(1 << 20, 'sallyport');

export class Origin {
  readonly port: number;
  readonly sockets = new Set<Socket>();
  readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.once('close', () => this.sockets.delete(socket));
    });
  }

  /** Listens on loopback until the test ends. */
  static async listen(t: TestContext, server: Server, port = 0): Promise<Origin> {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const origin = new Origin(server);
    t.after(() => {
      server.close();
      for (const socket of origin.sockets) socket.destroy();
    });
    return origin;
  }

  /** An origin that speaks bytes; half-open connections are its own business. */
  static raw(t: TestContext, onSocket: (socket: Socket) => void): Promise<Origin> {
    return Origin.listen(t, createServer({ allowHalfOpen: true }, onSocket));
  }

  static http(t: TestContext, onRequest: RequestListener, port = 0): Promise<Origin> {
    return Origin.listen(t, createHttpServer({ keepAliveTimeout: 0 }, onRequest), port);
  }

  /** The next connection. */
  async connection(): Promise<Socket> {
    const [socket] = await once(this.server, 'connection');
    return socket as Socket;
  }

  /** A tunnel to it, as YAML flow map. `more` may add options: `, response_timeout: 1s`. */
  tunnel(name: string, more = ''): string {
    return `{ name: ${name}, host: ${name}.relay.localhost, origin: "http://127.0.0.1:${this.port}"${more} }`;
  }
}

/** Answers `/small` with a few bytes and everything else with `bytes` of a download, as fast as it is read. */
export function downloads(bytes: number): RequestListener {
  return (request, response) => {
    if (request.url === '/small') {
      response.end('small');
      return;
    }
    response.writeHead(200, { 'Content-Length': bytes });
    let left = bytes;
    const more = () => {
      while (left > 0) {
        const piece = left >= MIB.length ? MIB : MIB.subarray(0, left);
        left -= piece.length;
        if (!response.write(piece)) return;
      }
      response.end();
    };
    response.on('drain', more);
    more();
  };
}
