/** Visitors for fault tests: one that asks and reads everything, and one that decides itself what it reads and when. */
import { once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';

/** Where a tunnel is for its visitors. */
export interface Site {
  readonly host: string;
  readonly port: number;
  readonly ca: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** False when the connection broke before the end of the body. */
  readonly complete: boolean;
}

export interface AskOptions {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** One request on a connection of its own, with its whole answer. Rejects when the connection breaks before the head. */
export async function ask(site: Site, options: AskOptions = {}): Promise<Answer> {
  const { host, port, ca } = site;
  const { path = '/', method = 'GET', headers = {}, body } = options;
  const asking = request({
    host: '127.0.0.1',
    port,
    ca,
    servername: host,
    agent: false,
    path,
    method,
    headers: { host, accept: 'application/json', ...headers },
  });
  asking.end(body);
  const [response] = await once(asking, 'response');
  const chunks: Buffer[] = [];
  response.on('data', (chunk: Buffer) => chunks.push(chunk));
  response.on('error', () => {});
  await new Promise((resolve) => response.once('close', resolve));
  const { statusCode: status, headers: fields, complete } = response;
  return { status, headers: fields, body: Buffer.concat(chunks).toString(), complete };
}

/** A TLS connection of a visitor. It reads until it is told not to. */
export class VisitorConnection {
  readonly socket: TLSSocket;
  /** Resolves when the connection is over, with how it ended. */
  readonly closed: Promise<'ended' | 'broken'>;
  bytes = 0;
  /** The first bytes that came, as text. */
  text = '';
  #ended = false;

  readonly #tcp: Socket;

  private constructor(tcp: Socket, socket: TLSSocket) {
    this.#tcp = tcp;
    this.socket = socket;
    socket.on('error', () => {});
    socket.on('end', () => {
      this.#ended = true;
    });
    socket.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
      if (this.text.length < 64 * 1024) this.text += chunk.toString('latin1');
    });
    this.closed = new Promise((resolve) => {
      socket.once('close', () => resolve(this.#ended ? 'ended' : 'broken'));
    });
  }

  static async open(t: TestContext, site: Site): Promise<VisitorConnection> {
    const tcp = connect(site.port, '127.0.0.1');
    const socket = connectTls({ socket: tcp, servername: site.host, ca: site.ca });
    t.after(() => tcp.destroy());
    await once(socket, 'secureConnect');
    return new VisitorConnection(tcp, socket);
  }

  /** Leaves as a closed browser does (`end`) or as a crashed machine does (`reset`), whatever is under way. */
  leave(how: 'end' | 'reset'): void {
    if (how === 'end') this.#tcp.destroy();
    else this.#tcp.resetAndDestroy();
  }

  /** Sends a request without a body; it is not answered yet when this returns. */
  get(site: Site, path: string, more = ''): void {
    this.socket.write(`GET ${path} HTTP/1.1\r\nHost: ${site.host}\r\nAccept: application/json\r\n${more}\r\n`);
  }

  /** Resolves once `text` has arrived; rejects when the connection ends before. */
  received(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        if (!this.text.includes(text)) return;
        this.socket.off('data', check);
        resolve();
      };
      this.socket.on('data', check);
      void this.closed.then(() => reject(new Error(`connection closed before "${text}" came: ${this.text}`)));
      check();
    });
  }

  /** Resolves once `bytes` have arrived in all. */
  receivedBytes(bytes: number): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (this.bytes < bytes) return;
        this.socket.off('data', check);
        resolve();
      };
      this.socket.on('data', check);
      check();
    });
  }
}
