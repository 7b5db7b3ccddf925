/** Server-sent events through the tunnel: each one arrives when it is sent, for as long as anybody listens. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type TestContext, test } from 'node:test';
import { APP, appUrl, curlOptions, startAppTunnel, talkToRelay } from './support/carry.js';
import type { Conversation } from './support/conversation.js';
import { startHttpOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { ToolProcess } from './support/tool-process.js';
import type { RunningRelay } from './support/world.js';

interface Stream {
  readonly relay: RunningRelay;
  readonly visitor: Conversation;
  /** The origin's side. */
  readonly events: ServerResponse;
}

/** A visitor who listens to the events of an origin, after both heads. */
async function listen(t: TestContext, yaml = ''): Promise<Stream> {
  let begun: (response: ServerResponse) => void;
  const first = new Promise<ServerResponse>((resolve) => {
    begun = resolve;
  });
  const origin = await startHttpOrigin(t, (_request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
    response.flushHeaders();
    begun(response);
  });
  const relay = await startAppTunnel(t, origin.url, { yaml });
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET /events HTTP/1.1\r\nHost: ${APP}\r\nAccept: text/event-stream\r\n\r\n`);
  const events = await first;
  // Before the first event there is nothing but the head: it must not wait for one.
  assert.match(await visitor.until('\r\n\r\n'), /\r\nContent-Type: text\/event-stream\r\n/);
  return { relay, visitor, events };
}

test('each event arrives before the next one is sent', async (t) => {
  const { visitor, events } = await listen(t);
  for (let index = 0; index < 100; index += 1) {
    events.write(`id: ${index}\ndata: tick\n\n`);
    assert.match(await visitor.until('\n\n'), new RegExp(`id: ${index}\ndata: tick`));
  }
});

test('a stream of events lives on through silences of the origin, whatever the limits on visitors are', async (t) => {
  const limits = 'keep_alive_timeout: 100ms, body_idle_timeout: 100ms, upgraded_idle_timeout: 100ms';
  const { visitor, events } = await listen(t, `limits: { ${limits} }`);
  events.write('data: before\n\n');
  await visitor.until('before\n\n');
  // The silence is what is tested: several times the limits, and several looks at them.
  await new Promise((resolve) => setTimeout(resolve, 900));
  events.write('data: after\n\n');
  await visitor.until('after\n\n');
});

test('the end of the events is the end of the response, and the connection goes on', async (t) => {
  const { visitor, events } = await listen(t);
  events.end('data: last\n\n');
  await visitor.until('last\n\n\r\n0\r\n\r\n');
  visitor.send(`GET /events HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  await visitor.until('\r\n\r\n');
});

for (const [how, leave] of [
  ['resets its connection', (visitor: Conversation) => void visitor.socket.destroy()],
  ['ends its connection', (visitor: Conversation) => void visitor.socket.end()],
] as const) {
  test(`a visitor who ${how} ends the response at the origin, and its stream`, async (t) => {
    const { visitor, events, relay } = await listen(t);
    const closed = once(events, 'close');
    leave(visitor);
    await closed;
    assert.equal(events.writableFinished, false);
    assert.equal(relay.relay.status().tunnels[0]?.openStreams, 0);
  });
}

test('curl -N prints each event as soon as it is sent', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  let events: ServerResponse | undefined;
  const origin = await startHttpOrigin(t, (_request, response) => {
    events = response;
    response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: 1\n\n');
  });
  const relay = await startAppTunnel(t, origin.url);
  const reader = new ToolProcess(t, curl, [...curlOptions(relay), '-N', appUrl(relay, '/')]);
  for (const index of [1, 2, 3]) {
    await reader.line(`data: ${index}`);
    events?.write(`data: ${index + 1}\n\n`);
  }
});
