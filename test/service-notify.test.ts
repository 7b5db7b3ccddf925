/** What the service manager is told arrives, also when it has no time at first. */
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startNode } from './support/node-process.js';
import { temporaryFolder } from './support/temporary-folder.js';

/** A process that tells a service manager that it is ready, where `systemd-notify` is this script; whether it was taken. */
async function tells(t: TestContext, script: string): Promise<{ taken: string; log: string[] }> {
  const folder = temporaryFolder(t);
  const log = join(folder, 'log');
  const program = join(folder, 'systemd-notify');
  writeFileSync(program, `#!/bin/sh\necho "$@" >>${log}\n${script.replaceAll('LOG', log)}\n`);
  chmodSync(program, 0o755);
  const code = `
    process.env.PATH = ${JSON.stringify(folder)} + ':' + process.env.PATH;
    process.env.NOTIFY_SOCKET = '/nowhere';
    const { notifyReady, notifyStatus } = await load('shared/service/service-notify.js');
    const taken = notifyReady('up');
    void notifyStatus('after it');
    const living = setInterval(() => {}, 1_000);
    console.log(await taken);
    await notifyStatus('last');
    clearInterval(living);
    console.log('done');`;
  const process_ = startNode(t, code, []);
  const taken = await process_.line();
  await process_.line();
  return { taken, log: readFileSync(log, 'utf8').trim().split('\n') };
}

test('a message that was not taken in time is sent again, before those that follow it', async (t) => {
  const late = 'test "$(wc -l <LOG)" -gt 1 || { sleep 5; exit 1; }';
  const { taken, log } = await tells(t, late);
  assert.equal(taken, 'true');
  const said = log.map((line) => line.replace(/^--pid=\d+ /, ''));
  assert.deepEqual(said, ['READY=1 STATUS=up', 'READY=1 STATUS=up', 'STATUS=after it', 'STATUS=last']);
});

test('where nobody listens a message is sent once', async (t) => {
  const { taken, log } = await tells(t, 'exit 1');
  assert.equal(taken, 'false');
  assert.equal(log.length, 3);
});
