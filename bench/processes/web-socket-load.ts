/**
 * WebSocketLoad: visitors who send a message, wait for its echo, and send it again. Ours, because Debian has no tool for
 * it; it writes one ready-made frame and counts bytes, so that it takes little of the machine from those it measures.
 *
 * Arguments: port, CA file, hostname, connections, bytes of a message, seconds. Says `{"messages":N,"seconds":S}`.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect, type TLSSocket } from 'node:tls';

const BINARY_FRAME = 0x82;
const MASKED = 0x80;
/** The length field says that two more bytes hold the length. */
const LENGTH_IN_16_BITS = 126;
const HEAD_END = '\r\n\r\n';

const [port = '', caFile = '', host = '', connections = '', bytes = '', seconds = ''] = process.argv.slice(2);
const ca = readFileSync(caFile);
const message = frame(randomBytes(Number(bytes)), true);
const echoBytes = frame(Buffer.alloc(Number(bytes)), false).length;
let messages = 0;

/** RFC 6455 §5.2. The mask is zero: inside TLS it protects nobody. */
function frame(payload: Buffer, isMasked: boolean): Buffer {
  const mask = isMasked ? MASKED : 0;
  const isShort = payload.length < LENGTH_IN_16_BITS;
  const length = isShort ? [payload.length] : [LENGTH_IN_16_BITS, payload.length >> 8, payload.length & 0xff];
  const [first = 0, ...rest] = length;
  return Buffer.concat([Buffer.from([BINARY_FRAME, mask | first, ...rest]), Buffer.alloc(isMasked ? 4 : 0), payload]);
}

function fail(reason: string): never {
  console.error(reason);
  process.exit(1);
}

/** Resolves when the origin has switched to WebSocket. */
function open(): Promise<TLSSocket> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port: Number(port), servername: host, ca });
    const key = randomBytes(16).toString('base64');
    const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13';
    socket.setNoDelay(true);
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n${upgrade}\r\nSec-WebSocket-Key: ${key}\r\n\r\n`);
    socket.on('error', (error) => fail(`a visitor lost its connection: ${error.message}`));
    socket.on('end', () => fail('a visitor was sent away'));
    socket.once('data', (head) => {
      const text = head.toString('latin1');
      if (!text.startsWith('HTTP/1.1 101') || !text.endsWith(HEAD_END)) fail(`no WebSocket: ${text.slice(0, 200)}`);
      resolve(socket);
    });
  });
}

function converse(socket: TLSSocket): void {
  let received = 0;
  socket.on('data', (chunk) => {
    received += chunk.length;
    if (received < echoBytes) return;
    received -= echoBytes;
    messages += 1;
    socket.write(message);
  });
  socket.write(message);
}

const sockets = await Promise.all(Array.from({ length: Number(connections) }, open));
const beganAtMs = performance.now();
for (const socket of sockets) converse(socket);
setTimeout(() => {
  console.log(JSON.stringify({ messages, seconds: (performance.now() - beganAtMs) / 1_000 }));
  process.exit();
}, Number(seconds) * 1_000);
