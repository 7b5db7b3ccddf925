import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { TunnelError } from '../shared/errors.js';
import { LinkLog, LinkServer } from './support/link-pair.js';

for (const scheme of ['http', 'https'] as const) {
  test(`nothing is left open after links over ${scheme} have closed`, async (t) => {
    const before = handles();
    const server = await LinkServer.listen(t, scheme);
    for (const how of ['close', 'destroy'] as const) {
      const client = await server.dial();
      const clientLog = new LinkLog();
      client.handler = clientLog;
      const { link, log, socket } = await server.accepted(server.sockets.length - 1);
      const gone = socketGone(socket);
      if (how === 'close') link.close('RELAY_DRAINING', 'bye');
      else client.destroy(new TunnelError('LINK_LOST', 'bye'));
      await Promise.all([log.closed(), clientLog.closed(), gone]);
    }
    await server.close();
    for (let turns = 0; turns < 20 && leftOver(before).length > 0; turns += 1) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.deepEqual(leftOver(before), []);
  });
}

function handles(): string[] {
  return process.getActiveResourcesInfo().filter((resource) => resource !== 'Immediate');
}

/** What is open now and was not before. */
function leftOver(before: readonly string[]): string[] {
  const known = [...before];
  return handles().filter((resource) => {
    const at = known.indexOf(resource);
    if (at >= 0) known.splice(at, 1);
    return at < 0;
  });
}

async function socketGone(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, 'close');
}
