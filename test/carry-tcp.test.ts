/** Raw TCP tunnels on public ports: bytes both ways, ends as they were meant, PROXY headers, and ports that come and go. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { endConnections, listen, startRawOrigin } from './support/origins.js';
import { connectTcp, startTcpTunnel, talkTcp } from './support/tcp-tunnel.js';

const MIB = 1024 * 1024;
const BULK_BYTES = 64 * MIB;

test('a server that speaks first is heard, and bytes of any value go both ways', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      connection.send('220 ready\r\n');
      for (;;) connection.send((await connection.take(256)).reverse());
    },
  });
  const { port } = await startTcpTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkTcp(t, port);
  await visitor.until('220 ready\r\n');
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
  visitor.send(bytes);
  assert.deepEqual(await visitor.take(256), bytes.reverse());
});

test('a visitor who speaks before the origin accepted loses nothing', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => connection.send(`heard ${(await connection.rest()).length}`),
  });
  const { port } = await startTcpTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkTcp(t, port);
  visitor.send('x'.repeat(100_000));
  visitor.socket.end();
  await visitor.until('heard 100000');
});

for (const first of ['visitor', 'origin'] as const) {
  test(`a half-close of the ${first} is a half-close at the other end, which may go on`, async (t) => {
    const origin = await startRawOrigin(t);
    const { port, relay } = await startTcpTunnel(t, `127.0.0.1:${origin.port}`);
    const visitor = await talkTcp(t, port);
    const connection = await origin.connection(0);
    const [one, other] = first === 'visitor' ? [visitor, connection] : [connection, visitor];
    one.socket.end('all I had to say');
    assert.equal(await other.rest(), 'all I had to say');
    for (const word of ['now ', 'I ', 'speak']) {
      other.send(word);
      await one.until(word);
    }
    other.socket.end();
    assert.equal(await one.rest(), '');
    await Promise.all([visitor.closed, connection.closed]);
    assert.equal(relay.relay.status().streams.now, 0);
  });

  test(`a reset by the ${first} is a reset at the other end, at once`, async (t) => {
    const origin = await startRawOrigin(t);
    const { port } = await startTcpTunnel(t, `127.0.0.1:${origin.port}`);
    const visitor = await talkTcp(t, port);
    const connection = await origin.connection(0);
    connection.send('hello');
    await visitor.until('hello');
    const [one, other] = first === 'visitor' ? [visitor, connection] : [connection, visitor];
    one.socket.resetAndDestroy();
    assert.equal(await other.ended(), 'ECONNRESET');
  });
}

/** Sends bytes of which no two blocks are equal, then half-closes. Returns their SHA-256. */
async function sendBulk(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  const block = randomBytes(64 * 1024);
  const pieces = function* () {
    for (let at = 0; at < BULK_BYTES; at += block.length) {
      block.writeUInt32BE(at / block.length);
      const piece = Buffer.from(block);
      hash.update(piece);
      yield piece;
    }
  };
  for await (const piece of Readable.from(pieces())) {
    if (!socket.write(piece)) await once(socket, 'drain');
  }
  socket.end();
  return hash.digest('hex');
}

/** SHA-256 of everything up to the peer's end. */
async function hashBulk(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  socket.on('data', (piece: Buffer) => void hash.update(piece));
  await once(socket, 'end');
  return hash.digest('hex');
}

test('64 MiB in both directions at the same time arrive with their SHA-256', { timeout: 60_000 }, async (t) => {
  const server = createServer({ allowHalfOpen: true });
  endConnections(t, server);
  const accepted = once(server, 'connection').then(([socket]) => socket as Socket);
  const origin = { port: await listen(t, server) };
  const { port } = await startTcpTunnel(t, `127.0.0.1:${origin.port}`);
  const [visitor, atOrigin] = await Promise.all([connectTcp(t, port), accepted]);
  const [up, down, heardUp, heardDown] = await Promise.all([
    sendBulk(visitor),
    sendBulk(atOrigin),
    hashBulk(atOrigin),
    hashBulk(visitor),
  ]);
  assert.equal(heardUp, up);
  assert.equal(heardDown, down);
  assert.notEqual(up, down);
});

test('an origin that asks for PROXY v1 is told who visits, before the first byte', async (t) => {
  const origin = await startRawOrigin(t);
  const { port } = await startTcpTunnel(t, `127.0.0.1:${origin.port}`, 'proxy_protocol: v1');
  const visitor = await talkTcp(t, port);
  visitor.send('payload');
  const connection = await origin.connection(0);
  const header = await connection.until('\r\n');
  assert.equal(header, `PROXY TCP4 127.0.0.1 127.0.0.1 ${visitor.socket.localPort} ${port}\r\n`);
  await connection.until('payload');
});

test('an origin that asks for PROXY v2 gets it in binary, without what is private to us', async (t) => {
  const origin = await startRawOrigin(t);
  const { port } = await startTcpTunnel(t, `127.0.0.1:${origin.port}`, 'proxy_protocol: v2');
  const visitor = await talkTcp(t, port);
  const connection = await origin.connection(0);
  const header = await connection.take(28);
  assert.equal(header.subarray(0, 14).toString('hex'), '0d0a0d0a000d0a515549540a2111');
  assert.equal(header.readUInt16BE(14), 12, 'addresses and ports, no TLV');
  assert.deepEqual([...header.subarray(16, 24)], [127, 0, 0, 1, 127, 0, 0, 1]);
  assert.equal(header.readUInt16BE(24), visitor.socket.localPort);
  assert.equal(header.readUInt16BE(26), port);
  visitor.send('payload');
  assert.equal((await connection.take(7)).toString(), 'payload');
});

test('an origin that refuses is a reset for the visitor, and the tunnel stays', async (t) => {
  const nobody = await freePort();
  const { port } = await startTcpTunnel(t, `127.0.0.1:${nobody}`);
  for (let round = 0; round < 2; round += 1) {
    const visitor = await talkTcp(t, port);
    assert.equal(await visitor.ended(), 'ECONNRESET');
  }
});

test('a silent connection ends after tcp_idle_timeout, one with traffic does not', async (t) => {
  const origin = await startRawOrigin(t);
  const yaml = 'limits: { tcp_idle_timeout: 1s }';
  const { port } = await startTcpTunnel(t, `127.0.0.1:${origin.port}`, '', { yaml });
  const [silent, busy] = [await talkTcp(t, port), await talkTcp(t, port)];
  const timer = setInterval(() => busy.send('.'), 100);
  t.after(() => clearInterval(timer));
  await silent.ended();
  assert.equal(busy.ending, undefined);
});

test('the port closes when its client leaves, and opens again with the next one', async (t) => {
  const origin = await startRawOrigin(t, { onConnection: (connection) => connection.send('hello') });
  const { port, client, relay } = await startTcpTunnel(t, `127.0.0.1:${origin.port}`);
  await (await talkTcp(t, port)).until('hello');
  client.client.close();
  await client.done;
  await refused(port);
  await relay.client(t, [`{ name: raw, tcp_port: ${port}, origin: "127.0.0.1:${origin.port}" }`]);
  await (await talkTcp(t, port)).until('hello');
});

test('the port closes when the token of its client is revoked', async (t) => {
  const origin = await startRawOrigin(t);
  const { port, client, relay } = await startTcpTunnel(t, `127.0.0.1:${origin.port}`);
  relay.home.tokens.revoke('home');
  await assert.rejects(client.done, { code: 'TOKEN_REJECTED' });
  await refused(port);
});

/** Resolves once nobody listens on the port. */
async function refused(port: number): Promise<void> {
  for (;;) {
    const scope = { after: () => {} };
    const answer = await connectTcp(scope, port).catch((error: NodeJS.ErrnoException) => error.code);
    if (answer === 'ECONNREFUSED') return;
    if (typeof answer !== 'string') answer?.destroy();
  }
}

test('a port that another program has is PORT_TAKEN', async (t) => {
  const origin = await startRawOrigin(t);
  const { relay, port } = await startTcpTunnel(t, `127.0.0.1:${origin.port}`, '', { tcpPorts: ['1-65535'] });
  const client = await relay.client(
    t,
    [
      `{ name: taken, tcp_port: ${origin.port}, origin: "127.0.0.1:1" }`,
      `{ name: second, tcp_port: ${port}, origin: "127.0.0.1:1" }`,
    ],
    { clientId: 'another', noWait: true },
  );
  await Promise.all([client.event('denied taken PORT_TAKEN'), client.event('denied second PORT_TAKEN')]);
});
