/** A client that lives but takes nothing: it may not hold the relay's memory, nor its own visitors, for longer than 15 s. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeGrants } from '../relay-server/sessions/grants.js';
import { assertServes, attackedWorld, forbidWarnings } from './support/attack.js';
import { talkToRelay } from './support/carry.js';
import { HostileLink } from './support/hostile-link.js';
import { ACK, frame, WINDOW_UPDATE } from './support/mux-frames.js';
import { within } from './support/within.js';

const EVIL = 'evil.relay.localhost';
const STALL_MS = 15_000;
const HEARTBEAT_MS = 3_000;

test('a client that goes on talking but stops reading is ended after 15 s and a heartbeat', async (t) => {
  forbidWarnings(t);
  const { relay } = await attackedWorld(t);
  const link = await HostileLink.proven(t, relay, relay.home.tokens.create('evil', makeGrants([EVIL], [])).text);
  assert.equal((await link.claim({ name: 'evil', host: EVIL })).type, 'claimed');
  const visitor = await talkToRelay(t, relay, { servername: EVIL });
  visitor.send(`POST /upload HTTP/1.1\r\nHost: ${EVIL}\r\nContent-Length: 999999999\r\n\r\n`);
  const { id } = await link.stream();
  link.send(frame(WINDOW_UPDATE, ACK, id, { length: 2 ** 30 }));
  link.socket.pause();
  const stoppedAtMs = performance.now();
  const alive = setInterval(() => link.send(frame(WINDOW_UPDATE, 0, id)), 500);
  t.after(() => clearInterval(alive));
  let taken = 0;
  const piece = Buffer.alloc(1 << 20);
  const upload = () =>
    visitor.socket.write(piece, () => {
      taken += piece.length;
      if (visitor.ending === undefined) upload();
    });
  upload();
  const answer = within('answer to the upload', visitor.response(), STALL_MS + 2 * HEARTBEAT_MS + 2_000);
  await assertServes(t, relay);
  const { status, field } = await answer;
  const afterMs = performance.now() - stoppedAtMs;
  assert.deepEqual([status, field('x-sallyport-error')], [502, 'HEARTBEAT_LOST']);
  assert.ok(afterMs > STALL_MS, `after ${afterMs} ms`);
  assert.ok(taken < 32 << 20, `${taken} bytes were taken for a client that reads nothing`);
  assert.equal(relay.relay.status().sessions.length, 1);
  await assertServes(t, relay);
});
