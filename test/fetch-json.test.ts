/** Asking a process of our own on this machine: whatever answers, the question ends in time and in bounds. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { fetchJson } from '../shared/fetch-json.js';

const LIMITS = { timeoutMs: 5_000, maxBytes: 1_000 };

/** A server that sends `answer`, 20 ms later `more`, and then neither closes nor goes on. */
async function serverThatSays(t: TestContext, answer: string, more = ''): Promise<{ host: string; port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).write(answer, () => setTimeout(() => socket.write(more), 20));
  });
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

function answerWith(body: string, length = body.length): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n${body}`;
}

test('a 200 answer is parsed', async (t) => {
  const target = await serverThatSays(t, answerWith('{"a":[1]}'));
  assert.deepEqual(await fetchJson(target, LIMITS), { a: [1] });
});

test('a server that never answers, and one that stops in the middle, end at the deadline', async (t) => {
  for (const answer of ['', 'HTTP/1.1 200 OK\r\n', answerWith('{"a":', 100)]) {
    const target = await serverThatSays(t, answer);
    await assert.rejects(fetchJson(target, { ...LIMITS, timeoutMs: 50 }), { name: 'TimeoutError' }, answer);
  }
});

test('an answer over the limit, another status, and anything that is no JSON are refused', async (t) => {
  const refusals: [answer: string, message: RegExp][] = [
    [answerWith(`"${'x'.repeat(1_000)}"`), /longer than 1000 bytes/],
    ['HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n', /status is 302/],
    [answerWith('<html>'), /JSON/],
    ['SSH-2.0-OpenSSH\r\n', /Parse Error/],
  ];
  for (const [answer, message] of refusals) {
    await assert.rejects(fetchJson(await serverThatSays(t, answer), LIMITS), message);
  }
});

test('an answer that breaks the rules in its middle is a failure like any other', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123';
  const target = await serverThatSays(t, head, '???');
  await assert.rejects(fetchJson(target, LIMITS), /aborted|Parse Error/);
});
