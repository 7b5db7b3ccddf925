/** HTTP/2 visitors who take their time: each part of what they do has its limit, and costs nobody else anything. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type AttackedWorld, assertAllFreed, assertServes, attackedWorld, forbidWarnings } from './support/attack.js';
import { downloads, Origin } from './support/fault-origin.js';
import {
  block,
  DATA,
  type Fields,
  frame,
  GET,
  HEADERS,
  headers,
  RawHttp2Visitor,
  SETTINGS,
  windowUpdate,
} from './support/http2-frames.js';
import { isIdle, residentMiB, statusOf, statusUntil } from './support/relay-probe.js';
import { skipFor } from './support/require-tool.js';
import { until, within } from './support/within.js';
import { RelayHome, startRelayProcess, startTunnelProcess } from './support/world.js';

const LIMIT_MS = 600;
/** Deadlines are looked at four times a second, against a clock of the same grain. */
const GRAIN_MS = 300;
/** For a busy machine; less than the default of any limit that is set here. */
const PATIENCE_MS = 5_000;
const SHORT = `{ head_timeout: ${LIMIT_MS}ms, keep_alive_timeout: ${LIMIT_MS}ms, body_idle_timeout: ${LIMIT_MS}ms }`;
const POST: Fields = GET.map(([name, value]) => [name, name === ':method' ? 'POST' : value]);
/** SETTINGS_INITIAL_WINDOW_SIZE. */
const WINDOW_OF = (bytes: number) => frame(SETTINGS, 0, 0, Buffer.from([0, 4, 0, 0, bytes >> 8, bytes & 255]));

type Attack = (visitor: RawHttp2Visitor) => void;

/** Connections on which nothing is under way, as far as anybody can tell. */
const SILENT: readonly (readonly [what: string, begin: Attack, preface?: boolean])[] = [
  ['says nothing', () => {}, false],
  ['says half a preface', (visitor) => visitor.send('PRI * HTTP/2.0\r\n'), false],
  ['says its preface and no more', () => {}],
  ['never ends a head', (visitor) => visitor.send(frame(HEADERS, 0, 1, block(GET)))],
  ['sends half a frame', (visitor) => visitor.send(frame(HEADERS, 4, 1, block(GET)).subarray(0, 20))],
  ['has asked once and stays', (visitor) => visitor.send(headers(1))],
];

/** The connection ends by itself, not long before and not long after its limits. */
async function assertCut(what: string, visitor: RawHttp2Visitor, sinceMs: number, limitMs = LIMIT_MS): Promise<void> {
  await within(what, visitor.goAwayCode(), limitMs + GRAIN_MS + PATIENCE_MS);
  const afterMs = performance.now() - sinceMs;
  assert.ok(afterMs > limitMs - GRAIN_MS, `${what}: cut after ${Math.round(afterMs)} ms`);
}

test('a visitor who says nothing, or never enough, is cut in its limit while others are served', async (t) => {
  forbidWarnings(t);
  const world = await attackedWorld(t, SHORT, { http2: 'on' });
  const beganAtMs = performance.now();
  const visitors = await Promise.all(
    SILENT.map(async ([what, begin, preface = true]) => {
      const visitor = await RawHttp2Visitor.connect(t, world.relay, { preface });
      begin(visitor);
      return { what, visitor };
    }),
  );
  await assertServes(t, world.relay);
  await Promise.all(visitors.map(({ what, visitor }) => assertCut(what, visitor, beganAtMs)));
  await assertAllFreed(world);
});

test('a body that does not come is answered with 408, and its siblings are served', async (t) => {
  const world = await attackedWorld(t, SHORT, { http2: 'on' });
  const visitor = await RawHttp2Visitor.connect(t, world.relay);
  visitor.send(headers(1, POST, 0), frame(DATA, 0, 1, Buffer.from('half')), headers(3));
  const sibling = await visitor.find(({ type, stream }) => type === DATA && stream === 3);
  assert.equal(sibling.payload.toString(), 'ok');
  const page = await within(
    '408',
    visitor.find(({ type, stream }) => type === DATA && stream === 1),
    LIMIT_MS + PATIENCE_MS,
  );
  assert.equal(JSON.parse(page.payload.toString()).status, 408);
  await assertAllFreed(world);
});

test('an answer that nobody reads is cut in its limit, however small', async (t) => {
  const world = await attackedWorld(t, SHORT, { http2: 'on' });
  const visitor = await RawHttp2Visitor.connect(t, world.relay, { preface: false });
  visitor.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', WINDOW_OF(0), headers(1));
  const cut = await within(
    'RST_STREAM',
    visitor.find(({ type, stream }) => type === 3 && stream === 1),
    LIMIT_MS + PATIENCE_MS,
  );
  assert.ok(cut.payload.readUInt32BE() > 0);
  await assertAllFreed(world);
});

test('a visitor who is gone without a word is noticed, though its request is still with the origin', async (t) => {
  const world = await attackedWorld(t, SHORT, { http2: 'on' });
  const visitor = await RawHttp2Visitor.connect(t, world.relay);
  // The origin never answers a POST, and no timeout ends that; our PING is what nobody answers.
  visitor.send(headers(1, [...POST, ['content-length', '0']]));
  const beganAtMs = performance.now();
  await assertCut('silence', visitor, beganAtMs, 2 * LIMIT_MS);
  await assertAllFreed(world);
});

interface FilmWorld {
  readonly admin: number;
  readonly pids: readonly number[];
  readonly visitor: RawHttp2Visitor;
}

/** A visitor with a hundred downloads and all the windows there are, who reads nothing. */
async function startFilms(t: TestContext, yaml: string): Promise<FilmWorld> {
  const origin = await Origin.http(t, downloads(2 ** 30));
  const home = new RelayHome(t, { yaml, http2: 'on' });
  const { program, https, admin } = await startRelayProcess(t, home);
  const client = await startTunnelProcess(t, https, home, [origin.tunnel('app')]);
  const relay = { port: () => https, home } as unknown as AttackedWorld['relay'];
  const visitor = await RawHttp2Visitor.connect(t, relay, { preface: false });
  return { admin, pids: [program.pid, client.pid], visitor };
}

function askForFilms(visitor: RawHttp2Visitor): void {
  visitor.conversation.socket.pause();
  const widest = frame(SETTINGS, 0, 0, Buffer.of(0, 4, 0x7f, 0xff, 0xff, 0xff));
  visitor.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', widest, windowUpdate(0, 0x7fff_0000));
  const film = GET.map(([name, value]) => [name, name === ':path' ? '/film' : value] as const);
  for (let count = 0; count < 100; count += 1) visitor.send(headers(visitor.nextStream(), film));
}

test('a hundred downloads on one connection that reads nothing cost a hundred windows and no more', async (t) => {
  if (residentMiB(process.pid) === undefined) return skipFor(t, 'no /proc; memory is measured on Linux');
  const { admin, pids, visitor } = await startFilms(t, '');
  const before = pids.map((pid) => residentMiB(pid) ?? 0);
  askForFilms(visitor);
  let bytes = 0;
  let sinceMs = performance.now();
  await until('standstill', async () => {
    const now = (await statusOf(admin)).tunnels[0]?.bytesOut ?? 0;
    if (now !== bytes || bytes === 0) sinceMs = performance.now();
    bytes = now;
    return performance.now() - sinceMs > 500 ? true : undefined;
  });
  const growth = pids.map((pid, index) => (residentMiB(pid) ?? 0) - (before[index] ?? 0));
  t.diagnostic(`relay and client grew by ${growth.map((mib) => mib.toFixed(0)).join(' and ')} MiB`);
  for (const mib of growth) assert.ok(mib < 120, `${mib} MiB more`);
});

test('downloads on a connection that reads nothing are cut after body_idle_timeout, and all is freed', async (t) => {
  const { admin, visitor } = await startFilms(t, 'limits: { body_idle_timeout: 1s, keep_alive_timeout: 1s }');
  askForFilms(visitor);
  await statusUntil(admin, (status) => status.streams.now > 0);
  await statusUntil(admin, (status) => isIdle(status) && status.connections.now === 2);
});
