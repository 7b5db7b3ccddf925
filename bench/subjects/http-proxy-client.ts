/**
 * The client of the baseline: each stream becomes a connection to the origin.
 *
 * Arguments: CA file, the relay's port, the origin's port. Says `joined`.
 */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Deadlines } from '../../shared/deadlines.js';
import { freeBuffersAtOnce } from '../../shared/garbage-collection.js';
import { dialLink } from '../../shared/link.js';
import { LiveLink } from '../../shared/live-link.js';
import type { MuxStream } from '../../shared/mux/stream.js';
import { Splice } from '../../shared/splice.js';
import { RELAY_HOST } from '../certificate.js';
import { linkOptions } from './http-proxy-link.js';

const DIAL_MS = 10_000;

freeBuffersAtOnce();
const [caFile = '', relayPort = '', originPort = ''] = process.argv.slice(2);
const deadlines = new Deadlines();

function join(stream: MuxStream): void {
  const socket = connect({ host: '127.0.0.1', port: Number(originPort), allowHalfOpen: true, noDelay: true });
  new Splice(socket, stream, { deadlines, idleMs: Number.POSITIVE_INFINITY });
}

const link = await dialLink({
  url: new URL(`https://${RELAY_HOST}:${relayPort}`),
  connect: () =>
    connectTls({ host: '127.0.0.1', port: Number(relayPort), servername: RELAY_HOST, ca: readFileSync(caFile) }),
  timeoutMs: DIAL_MS,
  agent: 'bench',
  signal: new AbortController().signal,
});
new LiveLink(link, { ...linkOptions('client'), onStream: join });
console.log('joined');
