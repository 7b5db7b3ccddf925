/** What an HTTP connection reports of each exchange, for metrics and access logs. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import type { ExchangeRecord } from '../shared/http/http-site.js';
import { handConnection } from './support/hand-connection.js';

const GET = 'GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n';

test('each exchange of a connection is reported once, with its own status and bytes', (t) => {
  const { socket, stream, exchanges } = handConnection(t);
  socket.say(GET);
  stream.answer('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe');
  assert.equal(exchanges.length, 0);
  stream.answer('llo');
  socket.say('POST /b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbo');
  socket.say('dy');
  stream.answer('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
  assert.deepEqual(exchanges.map(facts), [
    { method: 'GET', status: 200, code: undefined, bytesIn: 0, bytesOut: 5 },
    { method: 'POST', status: 404, code: undefined, bytesIn: 4, bytesOut: 0 },
  ]);
  for (const { ms, firstByteMs = Number.NaN, route, requestId } of exchanges) {
    assert.ok(firstByteMs >= 0 && ms >= firstByteMs);
    assert.equal(requestId, 'id');
    assert.notEqual(route, undefined);
  }
});

test('an interim response is not the first byte of the response', (t) => {
  const { socket, stream, exchanges } = handConnection(t);
  socket.say(GET);
  stream.answer('HTTP/1.1 103 Early Hints\r\n\r\n');
  socket.destroy();
  socket.emit('close');
  assert.deepEqual(exchanges.map(facts), [{ method: 'GET', status: 0, code: 'STREAM_RESET', bytesIn: 0, bytesOut: 0 }]);
  assert.equal(exchanges[0]?.firstByteMs, undefined);
});

test('a failed origin is reported with the status and the size of the page that the visitor got', (t) => {
  const { socket, stream, exchanges } = handConnection(t, ['ORIGIN_INVALID']);
  socket.say(GET);
  stream.answer('no HTTP at all\r\n\r\n');
  const [record] = exchanges;
  assert.equal(record?.status, 502);
  assert.equal(record.code, 'ORIGIN_INVALID');
  const [, body = ''] = socket.text.split('\r\n\r\n');
  assert.equal(record.bytesOut, Buffer.byteLength(body, 'latin1'));
  assert.equal(exchanges.length, 1);
});

test('a response that breaks off is reported with its own status and the code of its failure', (t) => {
  const { socket, stream, exchanges } = handConnection(t, ['ORIGIN_CLOSED', 'ORIGIN_INVALID']);
  socket.say(GET);
  stream.answer('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe');
  stream.handler?.onEnd();
  socket.emit('close');
  assert.equal(exchanges.length, 1);
  assert.equal(exchanges[0]?.status, 200);
  assert.equal(exchanges[0].bytesOut, 2);
  assert.ok(exchanges[0].code === 'ORIGIN_CLOSED' || exchanges[0].code === 'ORIGIN_INVALID');
});

test('a request that cannot be read is reported without one', (t) => {
  const { socket, exchanges } = handConnection(t, ['REQUEST_INVALID']);
  socket.say('nonsense\r\n\r\n');
  socket.emit('close');
  assert.equal(exchanges.length, 1);
  assert.equal(exchanges[0]?.request, undefined);
  assert.equal(exchanges[0]?.route, undefined);
  assert.equal(exchanges[0]?.status, 400);
});

test('a connection without a request reports nothing', (t) => {
  const { socket, exchanges } = handConnection(t);
  socket.say('GET / HT');
  socket.emit('close');
  assert.deepEqual(exchanges, []);
});

test('an upgraded connection is reported when it ends, with the bytes of both directions', async (t) => {
  const { socket, stream, exchanges } = handConnection(t);
  socket.say('GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nabc');
  stream.answer('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nde');
  socket.say('fgh');
  stream.answer('ijkl');
  assert.equal(exchanges.length, 0);
  const closed = once(socket, 'close');
  socket.destroy();
  await closed;
  assert.deepEqual(exchanges.map(facts), [
    { method: 'GET', status: 101, code: 'STREAM_RESET', bytesIn: 6, bytesOut: 6 },
  ]);
});

function facts({ request, status, code, bytesIn, bytesOut }: ExchangeRecord) {
  return { method: request?.method, status, code, bytesIn, bytesOut };
}
