/** A well-behaved HTTP/2 visitor: node:http2's client, with a connection to the relay that ends with the test. */
import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionOptions,
  connect,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
  type OutgoingHttpHeaders,
} from 'node:http2';
import type { TestContext } from 'node:test';
import { APP, connectVisitor } from './carry.js';
import type { RunningRelay } from './world.js';

/** A response that came whole. */
export interface Http2Answer {
  readonly status: number;
  readonly fields: IncomingHttpHeaders;
  readonly body: string;
  readonly trailers: IncomingHttpHeaders;
  /** Statuses of interim responses. */
  readonly interim: readonly number[];
  /** Why the stream ended; 0: in peace. */
  readonly code: number;
}

export interface Http2VisitorOptions extends ClientSessionOptions {
  /** SNI; APP by default. */
  readonly servername?: string;
  readonly ca?: string;
}

/** A connection whose ALPN agreed on h2 and whose SETTINGS have been exchanged. */
export async function http2Visitor(
  t: Pick<TestContext, 'after'>,
  relay: RunningRelay,
  { servername = APP, ca = relay.home.ca, ...options }: Http2VisitorOptions = {},
): Promise<ClientHttp2Session> {
  // Node reads allowHalfOpen here, its types do not know it.
  const tls = { servername, ca, ALPNProtocols: ['h2'], allowHalfOpen: false };
  const socket = await connectVisitor(t, relay, tls);
  // What node:http2 may hold of large uploads, in MiB.
  const room = { maxSessionMemory: 100 };
  const session = connect(`https://${servername}`, { ...room, ...options, createConnection: () => socket });
  // A test that cares for the end of the connection waits for 'close'.
  session.on('error', () => {});
  t.after(() => session.destroy());
  await once(session, 'remoteSettings');
  return session;
}

/** Asks and reads the whole answer; `body` is sent in one piece, or by the function. */
export async function askOver(
  session: ClientHttp2Session,
  fields: OutgoingHttpHeaders,
  body?: string | Buffer | ((stream: ClientHttp2Stream) => void),
): Promise<Http2Answer> {
  const stream = session.request(
    { ':authority': APP, ...fields },
    {
      endStream: body === undefined,
      waitForTrailers: typeof body === 'function',
    },
  );
  const answer = answerOf(stream);
  if (typeof body === 'function') body(stream);
  else if (body !== undefined) stream.end(body);
  return answer;
}

/** The whole answer on a stream; resolves when the stream is closed, in peace or not. */
export async function answerOf(stream: ClientHttp2Stream): Promise<Http2Answer> {
  const interim: number[] = [];
  const pieces: Buffer[] = [];
  let fields: IncomingHttpHeaders & IncomingHttpStatusHeader = {};
  let trailers: IncomingHttpHeaders = {};
  stream.on('error', () => {});
  stream.on('headers', (head) => interim.push(head[':status'] ?? 0));
  stream.on('response', (head) => {
    fields = head;
  });
  stream.on('trailers', (tail) => {
    trailers = tail;
  });
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  if (!stream.closed || !stream.destroyed) await new Promise((resolve) => stream.once('close', resolve));
  const body = Buffer.concat(pieces).toString();
  return { status: fields[':status'] ?? 0, fields, body, trailers, interim, code: stream.rstCode ?? 0 };
}
