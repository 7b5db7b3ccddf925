/** What can go wrong while a client opens a link: always LINK_LOST, and never a socket that stays open. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { TunnelError } from '../shared/errors.js';
import { dialLink } from '../shared/link.js';
import { talkToRelay } from './support/carry.js';
import { LinkServer } from './support/link-pair.js';
import { acceptLink, type RawConnection, RawLinkServer } from './support/raw-link-server.js';
import { openingRequest, openingResponse } from './support/raw-web-socket.js';
import { DOMAIN, RelayHome } from './support/world.js';

/** The dial fails with LINK_LOST and its sockets are closed. */
async function assertFails(dial: Promise<unknown>, server: RawLinkServer, message: RegExp): Promise<void> {
  await assert.rejects(dial, (error) => {
    assert.ok(error instanceof TunnelError);
    assert.equal(error.code, 'LINK_LOST');
    assert.match(error.message, message);
    assert.match(error.message, /^Cannot open link to localhost:\d+: /);
    return true;
  });
  for (const socket of server.clientSockets) if (!socket.closed) await once(socket, 'close');
}

function answerWith(text: string): (connection: RawConnection) => void {
  return ({ socket }) => void socket.write(text);
}

const ANSWERS: Record<string, [(connection: RawConnection) => void, RegExp]> = {
  'an ordinary page': [answerWith('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'), /Unexpected server response: 200/],
  'a 404': [answerWith('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n'), /Unexpected server response: 404/],
  'a redirect': [
    answerWith('HTTP/1.1 302 Found\r\nLocation: http://localhost:1/\r\nContent-Length: 0\r\n\r\n'),
    /Unexpected server response: 302/,
  ],
  'something that is not HTTP': [answerWith('220 mail.example ESMTP\r\n\r\n'), /Parse Error/],
  'the end of the connection': [({ socket }) => socket.destroy(), /socket hang up|ECONNRESET/],
  'a wrong accept key': [
    ({ socket, head }) => void socket.write(openingResponse(head).replace(/Accept: ./, 'Accept: !')),
    /Sec-WebSocket-Accept/,
  ],
  'another subprotocol': [({ socket, head }) => void socket.write(openingResponse(head, 'other.v9')), /subprotocol/],
};

for (const [what, [answer, message]] of Object.entries(ANSWERS)) {
  test(`a server that answers with ${what} is no relay`, async (t) => {
    const server = await RawLinkServer.listen(t, 'http', answer);
    await assertFails(server.dial(), server, message);
  });
}

test('a relay that speaks another version is told from one that is out of reach', async (t) => {
  const refusal = (fields: string) => `HTTP/1.1 426 Upgrade Required\r\n${fields}Content-Length: 0\r\n\r\n`;
  const other = await RawLinkServer.listen(
    t,
    'http',
    answerWith(refusal('X-Sallyport-Error: VERSION_UNSUPPORTED\r\n')),
  );
  await assert.rejects(other.dial(), { code: 'VERSION_UNSUPPORTED', message: /does not speak sallyport\.v1\. Update/ });
  const proxy = await RawLinkServer.listen(t, 'http', answerWith(refusal('')));
  await assertFails(proxy.dial(), proxy, /Unexpected server response: 426/);
});

test('a client that does not offer our subprotocol is refused before the upgrade, and counted', async (t) => {
  const relay = await new RelayHome(t).start(t);
  const offers: [protocols: string, status: RegExp][] = [
    ['sallyport.v2', /^HTTP\/1\.1 426 /],
    ['sallyport.v10, xsallyport.v1', /^HTTP\/1\.1 426 /],
    ['sallyport.v2, sallyport.v1', /^HTTP\/1\.1 101 /],
  ];
  for (const [protocols, status] of offers) {
    const client = await talkToRelay(t, relay, { servername: DOMAIN });
    client.send(openingRequest(protocols).replace('Host: localhost', `Host: ${DOMAIN}`));
    assert.match(await client.until('\r\n\r\n'), status, protocols);
  }
  const bare = await talkToRelay(t, relay, { servername: DOMAIN });
  bare.send(
    openingRequest()
      .replace('Host: localhost', `Host: ${DOMAIN}`)
      .replace(/Sec-WebSocket-Protocol: .*\r\n/, ''),
  );
  const answer = await bare.rest();
  assert.match(answer, /\r\nx-sallyport-error: VERSION_UNSUPPORTED\r\n.*speaks sallyport\.v1\. Update/s);
  assert.equal(relay.relay.status().refusals.VERSION_UNSUPPORTED, 3);
});

test('a refused connection is LINK_LOST, with the reason', async () => {
  const closed = createServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const server = RawLinkServer.at(closed);
  await new Promise((resolve) => closed.close(resolve));
  await assertFails(server.dial(), server, /ECONNREFUSED/);
});

test('a certificate that is not trusted is LINK_LOST, with the reason', async (t) => {
  const server = await RawLinkServer.listen(t, 'https', acceptLink);
  await assertFails(server.dial({ trusted: false }), server, /certificate/);
});

for (const scheme of ['http', 'https'] as const) {
  test(`a server that accepts over ${scheme} and says nothing is given up after timeoutMs`, async (t) => {
    const server = await RawLinkServer.listen(t, scheme, () => {});
    const began = performance.now();
    await assertFails(server.dial({ timeoutMs: 120 }), server, /no answer in 120 ms/);
    assert.ok(performance.now() - began >= 115);
  });
}

test('a server that answers one byte at a time is given up after timeoutMs all the same', async (t) => {
  const server = await RawLinkServer.listen(t, 'http', ({ socket }) => {
    const dribble = setInterval(() => socket.write('H'), 10);
    socket.write('HTTP/1.1 101 X\r\nX-Slow: ');
    socket.once('close', () => clearInterval(dribble));
  });
  await assertFails(server.dial({ timeoutMs: 150 }), server, /no answer in 150 ms/);
});

test('a dial can be aborted before, during and after it', async (t) => {
  const before = await RawLinkServer.listen(t, 'http', acceptLink);
  await assertFails(before.dial({ signal: AbortSignal.abort() }), before, /aborted/);

  const abort = new AbortController();
  const during = await RawLinkServer.listen(t, 'http', () => abort.abort());
  await assertFails(during.dial({ signal: abort.signal }), during, /aborted/);

  const late = new AbortController();
  const after = await LinkServer.listen(t, 'http');
  const link = await after.dial({ signal: late.signal });
  late.abort();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(link.open, true);
});

test('a dial that failed has left no timer and no listener', async (t) => {
  const abort = new AbortController();
  const server = await RawLinkServer.listen(t, 'http', answerWith('HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n'));
  const before = timers();
  let listeners = 0;
  t.mock.method(abort.signal, 'addEventListener', () => {
    listeners += 1;
  });
  t.mock.method(abort.signal, 'removeEventListener', () => {
    listeners -= 1;
  });
  await assertFails(server.dial({ signal: abort.signal, timeoutMs: 60_000 }), server, /404/);
  assert.equal(listeners, 0);
  assert.equal(timers(), before);
});

function timers(): number {
  return process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length;
}

test('a socket that cannot even be made is LINK_LOST', async () => {
  const dial = dialLink({
    url: new URL('http://localhost:1'),
    connect: () => {
      throw new Error('no network');
    },
    timeoutMs: 1_000,
    agent: 'test/1',
    signal: new AbortController().signal,
  });
  await assert.rejects(dial, (error) => error instanceof TunnelError && error.code === 'LINK_LOST');
});

test('the dial names its agent and asks for our path and subprotocol alone', async (t) => {
  const heads: string[] = [];
  const server = await RawLinkServer.listen(t, 'http', (connection) => {
    heads.push(connection.head);
    acceptLink(connection);
  });
  const link = await server.dial();
  link.destroy(new TunnelError('LINK_LOST', 'the test is over'));
  const [head = ''] = heads;
  assert.match(head, /^GET \/\.sallyport\/link HTTP\/1\.1\r\n/);
  assert.match(head, /^User-Agent: test\/1\r$/m);
  assert.match(head, /^Sec-WebSocket-Protocol: sallyport\.v1\r$/m);
  assert.doesNotMatch(head, /Sec-WebSocket-Extensions/i);
});
