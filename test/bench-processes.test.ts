/** The programs of the bench that are no subjects: the long line, the origins, and the visitors. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { startProcess } from '../bench/processes/start-process.js';
import { Programs } from '../bench/programs.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { testCertificate } from './support/test-certificate.js';

function programsOf(t: TestContext): Programs {
  const programs = new Programs();
  t.after(() => programs.close());
  return programs;
}

async function start(t: TestContext, name: string, ...args: readonly (string | number)[]): Promise<number> {
  const program = startProcess(programsOf(t), name, args.map(String));
  return Number((await program.line('listening ')).split(' ').at(-1));
}

async function listen(t: TestContext, server: Server): Promise<number> {
  t.after(() => void server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}

function dial(t: TestContext, port: number, allowHalfOpen = false): Socket {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen });
  t.after(() => void socket.destroy());
  return socket;
}

/** Everything that arrives until the end. */
async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test('the line delivers everything in order, both ways, and the ends of both directions', async (t) => {
  const payload = randomBytes(3 * 1024 * 1024);
  const echo = createServer({ allowHalfOpen: true }, (socket) => void socket.pipe(socket));
  const port = await start(t, 'delay-line', await listen(t, echo), 5, 1_000);
  const socket = dial(t, port, true);
  socket.end(payload);
  assert.ok((await readAll(socket)).equals(payload));
});

test('the line takes its time: a round trip lasts twice its delay, and its rate is not exceeded', async (t) => {
  const echo = createServer((socket) => void socket.pipe(socket));
  const port = await start(t, 'delay-line', await listen(t, echo), 40, 1);
  const socket = dial(t, port);
  await once(socket, 'connect');
  const beganAtMs = performance.now();
  socket.write('x');
  await once(socket, 'data');
  assert.ok(performance.now() - beganAtMs >= 79);
  // 100,000 bytes at 1 MB/s occupy the line for 100 ms, then travel.
  socket.write(Buffer.alloc(100_000));
  const sentAtMs = performance.now();
  let received = 0;
  for await (const chunk of socket) {
    received += (chunk as Buffer).length;
    if (received === 100_000) break;
  }
  assert.ok(performance.now() - sentAtMs >= 178);
});

test('who sends faster than the line carries is held back', async (t) => {
  const sink = createServer((socket) => void socket.on('error', () => {}));
  const port = await start(t, 'delay-line', await listen(t, sink), 500, 1);
  const arrived = once(sink, 'connection').then(([origin]) => once(origin as Socket, 'data'));
  const socket = dial(t, port);
  socket.on('error', () => {});
  // The line holds 0.6 MB; the rest stays with the system's buffers and with us while the first byte travels.
  socket.write(Buffer.alloc(64 * 1024 * 1024));
  await arrived;
  assert.ok(socket.writableLength > 0);
});

test('a connection that breaks on one side of the line breaks on the other', async (t) => {
  const server = createServer((socket) => {
    socket.once('data', () => socket.resetAndDestroy());
    socket.on('error', () => {});
  });
  const port = await start(t, 'delay-line', await listen(t, server), 1, 1);
  const socket = dial(t, port);
  socket.on('error', () => {});
  socket.write('x');
  await once(socket, 'close');
});

test('the sink answers when the whole body has come, and takes the next one', async (t) => {
  const socket = dial(t, await start(t, 'upload-sink'));
  const body = 'x'.repeat(100_000);
  for (let round = 0; round < 2; round += 1) {
    socket.write(`PUT /upload HTTP/1.1\r\nHost: a\r\ncontent-length: ${body.length}\r\n\r\n${body.slice(1)}`);
    const early = await Promise.race([
      once(socket, 'data'),
      new Promise((resolve) => setTimeout(resolve, 100, 'none')),
    ]);
    assert.equal(early, 'none');
    socket.write('x');
    const [answer] = await once(socket, 'data');
    assert.match(String(answer), /^HTTP\/1\.1 200 OK\r\n/);
  }
});

test('the sink refuses a body of unknown length', async (t) => {
  const socket = dial(t, await start(t, 'upload-sink'));
  socket.write('PUT /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
  assert.match((await readAll(socket)).toString(), /^HTTP\/1\.1 411 /);
});

async function caFile(t: TestContext): Promise<string> {
  const file = join(temporaryFolder(t), 'ca.pem');
  writeFileSync(file, (await testCertificate()).ca);
  return file;
}

test('the WebSocket load counts the echoes that a real server sends', async (t) => {
  const echoPort = await start(t, 'web-socket-echo');
  const { cert, key } = await testCertificate();
  const front = createTlsServer({ cert, key }, (visitor) => {
    const origin = connect(echoPort, '127.0.0.1');
    visitor.pipe(origin).pipe(visitor);
    for (const socket of [visitor, origin]) socket.on('error', () => visitor.destroy());
  });
  const port = await listen(t, front);
  const load = startProcess(programsOf(t), 'web-socket-load', [
    String(port),
    await caFile(t),
    'localhost',
    '5',
    '128',
    '1',
  ]);
  const { messages, seconds } = JSON.parse(await load.line('messages'));
  assert.ok(messages >= 5, `${messages}`);
  // A timer may fire a millisecond early by the clock that is read.
  assert.ok(seconds >= 0.99, `${seconds}`);
});

test('idle visitors come, are served once and stay; stalled ones leave the rest of their answer unread', async (t) => {
  const { cert, key } = await testCertificate();
  const asked: string[] = [];
  let isHeldBack = false;
  const server = createHttpsServer({ cert, key }, (request, response) => {
    asked.push(request.headers.host ?? '');
    if (request.url === '/small') {
      response.end('{}');
      return;
    }
    // More than any two sockets hold between them.
    response.write(Buffer.alloc(32 * 1024 * 1024));
    response.once('drain', () => assert.fail('somebody read it all'));
    isHeldBack = response.writableNeedDrain;
  });
  const open = new Set<Socket>();
  server.on('secureConnection', (socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
  });
  t.after(() => server.closeAllConnections());
  const port = String(await listen(t, server));
  const ca = await caFile(t);
  const visitors = (manner: string, path: string) =>
    startProcess(programsOf(t), 'visitors', [port, ca, '3', manner, path, 'localhost']).line('present 3');
  await visitors('idle', '/small');
  await visitors('stalled', '/endless');
  assert.deepEqual(asked, Array(6).fill('localhost'));
  assert.equal(isHeldBack, true);
  assert.equal(open.size, 6);
});

test('a program that ends early fails whoever waits for it, with what it said', async (t) => {
  const program = programsOf(t).start(process.execPath, ['-e', 'console.error("no such luck"); process.exit(3)']);
  await assert.rejects(program.until(new Promise(() => {})), /ended with exit code 3\nno such luck/);
  await assert.rejects(program.line('ready'), /ended with exit code 3/);
});

test('an exit code counts as success only when the caller says so', async (t) => {
  const programs = programsOf(t);
  const args = ['-e', 'console.log("28"); process.exitCode = 28'];
  await assert.rejects(programs.run(process.execPath, args, { timeoutMs: 10_000 }), /ended with exit code 28/);
  assert.equal(await programs.run(process.execPath, args, { timeoutMs: 10_000, exitCodes: [0, 28] }), '28\n');
});

test('after the end no program starts', async (t) => {
  const programs = programsOf(t);
  await programs.close();
  assert.throws(() => programs.start(process.execPath, ['-e', '']), /the bench is over/);
});
