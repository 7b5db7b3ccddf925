/** What the tests of hostile peers share: a world with a recording origin, raw visitors, and proof that all is well after. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { createLog, type Log } from '../../shared/log.js';
import { APP, appTunnel, talkToRelay } from './carry.js';
import type { Conversation, RawResponse } from './conversation.js';
import { RecordingOrigin } from './recording-origin.js';
import { AT_ONCE_MS, until, within } from './within.js';
import { RelayHome, type RelayWorldOptions, type RunningClient, type RunningRelay } from './world.js';

export const HOST = `Host: ${APP}\r\n`;

/** What a good request looks like at the origin, whoever sent it: nothing but what the relay wrote. */
export const GOOD = `GET /good HTTP/1.1\r\n${HOST}\r\n`;
const GOOD_AT_ORIGIN = [
  'GET /good HTTP/1.1',
  `Host: ${APP}`,
  'X-Forwarded-For: VISITOR',
  'X-Forwarded-Proto: https',
  `X-Forwarded-Host: ${APP}`,
  'X-Real-IP: VISITOR',
  `Forwarded: for=VISITOR;proto=https;host=${APP}`,
  'X-Request-Id: ID',
  '\r\n',
].join('\r\n');

export interface AttackedWorld {
  readonly relay: RunningRelay;
  readonly client: RunningClient;
  readonly origin: RecordingOrigin;
  /** Everything that both programs logged, at level debug, as JSON lines. */
  readonly logs: string[];
}

/** A relay and a client in this process, with one tunnel from APP to a recording origin and logs at level debug. */
export async function attackedWorld(
  t: TestContext,
  limits = '{}',
  options: RelayWorldOptions = {},
): Promise<AttackedWorld> {
  const logs: string[] = [];
  const log = recordingLog(logs);
  const origin = await RecordingOrigin.start(t);
  const relay = await new RelayHome(t, { ...options, log, yaml: `limits: ${limits}\n${options.yaml ?? ''}` }).start(t);
  const client = await relay.client(t, [appTunnel(origin.url)], { log });
  return { relay, client, origin, logs };
}

/** A log whose JSON lines end up in `lines`. */
export function recordingLog(lines: string[]): Log {
  return createLog({ level: 'debug', format: 'json', destination: { write: (line) => lines.push(line) } });
}

/** One good request on a connection of its own is answered within a second or so, whatever else goes on. */
export async function assertServes(t: TestContext, relay: RunningRelay): Promise<void> {
  const visitor = await within('TLS handshake of a good visitor', talkToRelay(t, relay), AT_ONCE_MS);
  visitor.send(GOOD);
  const { status, body } = await within('answer to a good visitor', visitor.response(), AT_ONCE_MS);
  assert.deepEqual([status, body], [200, 'ok']);
  visitor.socket.destroy();
}

/** What the origin received, with what differs from request to request put in place of itself. */
export function normalised(text: string): string {
  return text.replaceAll(/127\.0\.0\.\d+/g, 'VISITOR').replaceAll(/^(X-Request-Id: )[0-9a-f]{20}\r$/gm, '$1ID\r');
}

/** The origin received `count` good requests and not one other byte. */
export async function assertOnlyGood(origin: RecordingOrigin, count: number): Promise<void> {
  const bytes = GOOD_AT_ORIGIN.length * count;
  await until(
    'good requests at the origin',
    () => (normalised(origin.text).length >= bytes ? true : undefined),
    AT_ONCE_MS,
  );
  for (const { text } of origin.connections) {
    const rest = normalised(text).replaceAll(GOOD_AT_ORIGIN, '');
    assert.equal(rest, '', 'bytes at the origin that no good request sent');
  }
  assert.equal(normalised(origin.text).length, bytes);
}

/** The response says that the request was refused, and that the connection ends with it. */
export function assertRefusal(response: RawResponse, status: number, code = 'REQUEST_INVALID'): void {
  assert.equal(response.status, status, response.head);
  assert.equal(response.field('x-sallyport-error'), code);
  assert.equal(response.field('connection'), 'close');
  assert.equal(JSON.parse(response.body).code, code);
}

/** Sends the pieces so that each is a TLS record of its own, and stops when the connection ends. */
export async function sendEach(visitor: Conversation, pieces: readonly Buffer[]): Promise<void> {
  visitor.socket.setNoDelay(true);
  for (const piece of pieces) {
    if (visitor.socket.destroyed) return;
    await new Promise((resolve) => visitor.socket.write(piece, resolve));
  }
}

/** Everything that a visitor and its streams held is given back, at relay, client and origin. */
export async function assertAllFreed({ relay, client, origin }: AttackedWorld): Promise<void> {
  const left = () => {
    const { streams, connections } = relay.relay.status();
    const { links } = client.client.status();
    const linkStreams = links.reduce((sum, link) => sum + link.streams, 0);
    // The client's links are connections of the relay, too.
    return [streams.now, linkStreams, origin.openCount, connections.now - links.length];
  };
  try {
    await until('freeing', () => (left().every((count) => count <= 0) ? true : undefined), AT_ONCE_MS);
  } catch {
    assert.deepEqual(left(), [0, 0, 0, 0], 'streams at the relay, at the client, origin connections, visitors');
  }
}

/** Fails the test at its end when the process warned of anything, such as a leak of event listeners. */
export function forbidWarnings(t: TestContext): void {
  const warnings: string[] = [];
  const onWarning = (warning: Error) => warnings.push(`${warning.name}: ${warning.message}`);
  process.on('warning', onWarning);
  t.after(() => {
    process.off('warning', onWarning);
    assert.deepEqual(warnings, []);
  });
}
