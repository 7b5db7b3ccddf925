/**
 * An origin that keeps every byte it ever got, to prove what reached it and what did not. It answers each head of a GET
 * or OPTIONS with `ok`, and nothing else: whoever sends a body decides himself whether an answer comes.
 */
import { createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { endConnections, listen } from './origins.js';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const ANSWERED_HEAD = /(?:GET|OPTIONS) [^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n/g;

export interface RecordedConnection {
  /** Every byte so far, as latin1 text. */
  text: string;
  isClosed: boolean;
  readonly socket: Socket;
}

export class RecordingOrigin {
  readonly port: number;
  /** Oldest first. */
  readonly connections: RecordedConnection[];

  private constructor(port: number, connections: RecordedConnection[]) {
    this.port = port;
    this.connections = connections;
  }

  static async start(t: Pick<TestContext, 'after'>): Promise<RecordingOrigin> {
    const connections: RecordedConnection[] = [];
    const server = createServer({ noDelay: true }, (socket) => connections.push(record(socket)));
    const port = await listen(t, server);
    endConnections(t, server);
    return new RecordingOrigin(port, connections);
  }

  /** As tunnel.yaml names it. */
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Every byte of every connection, as latin1 text. */
  get text(): string {
    return this.connections.map((connection) => connection.text).join('');
  }

  /** Connections that are open now. */
  get openCount(): number {
    return this.connections.filter((connection) => !connection.isClosed).length;
  }
}

function record(socket: Socket): RecordedConnection {
  const connection: RecordedConnection = { text: '', isClosed: false, socket };
  let answered = 0;
  socket.on('data', (piece: Buffer) => {
    connection.text += piece.toString('latin1');
    const heads = connection.text.match(ANSWERED_HEAD)?.length ?? 0;
    for (; answered < heads; answered += 1) socket.write(OK);
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    connection.isClosed = true;
  });
  return connection;
}
