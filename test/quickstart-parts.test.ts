/** The parts of the quickstart that decide something by themselves: ports, logs, the text. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { ChildProgram } from '../relay-server/quickstart/child-program.js';
import { choosePorts } from '../relay-server/quickstart/choose-ports.js';
import { LogFile } from '../relay-server/quickstart/log-file.js';
import { welcomeText } from '../relay-server/quickstart/welcome.js';
import { temporaryFolder } from './support/temporary-folder.js';

test('each port is the first free one of its wish, else any, and no two are the same', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const taken = (server.address() as AddressInfo).port;
  const free = await freePort();
  const [first, second, third] = await choosePorts([[taken, free], [free], [taken]]);
  assert.equal(first, free);
  assert.equal(new Set([first, second, third, taken]).size, 4);
});

test('a log begins empty, and begins again instead of growing past its limit', (t) => {
  const path = join(temporaryFolder(t), 'x.log');
  const earlier = new LogFile(path);
  earlier.write('of an earlier start');
  earlier.close();
  const log = new LogFile(path, 20);
  log.write('one');
  log.write('two');
  assert.equal(readFileSync(path, 'utf8'), 'one\ntwo\n');
  log.write('three is too much');
  assert.equal(readFileSync(path, 'utf8'), 'three is too much\n');
  log.close();
  log.write('nobody hears this');
  log.close();
  assert.equal(readFileSync(path, 'utf8'), 'three is too much\n');
});

test('the ending of a program that refuses its config tells its code, its reason and its log', async (t) => {
  const logFile = join(temporaryFolder(t), 'relay.log');
  const main = new URL('../relay-server/main.js', import.meta.url);
  const program = new ChildProgram({
    name: 'relay',
    main,
    args: ['serve', '--config', '/nowhere/relay.yaml'],
    logFile,
  });
  const { code, text } = await program.ended;
  assert.equal(code, 78);
  assert.match(text, /^relay ended with code 78\. relay: .*\/nowhere\/relay\.yaml.* Its log: .*relay\.log$/);
  await program.stop();
});

test('the welcome says what our own visit brought', () => {
  const facts = {
    version: '1',
    folder: 'f',
    url: 'https://u/',
    caFile: 'ca',
    statusCommands: ['a', 'b'],
    logFiles: [],
  };
  assert.match(welcomeText({ ...facts, visit: { status: 502, ms: 7 } }), /Checked: 502 Bad Gateway in 7 ms/);
  assert.match(welcomeText({ ...facts, visit: 'connect ECONNREFUSED' }), /Checked: no answer\. connect ECONNREFUSED/);
});
