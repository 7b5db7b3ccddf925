/** `relay restart`: a new process takes the place of the old one while visitors keep coming; nobody notices. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Agent, request } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect } from 'node:tls';
import { WebSocket, WebSocketServer } from 'ws';
import { freePort } from '../bench/free-port.js';
import { askRelay } from '../relay-server/ops/control-socket.js';
import { Origin } from './support/fault-origin.js';
import { ask, type Site } from './support/fault-visitor.js';
import { NotifySocket } from './support/notify-socket.js';
import { runTool } from './support/tool-process.js';
import { AT_ONCE_MS, until, within } from './support/within.js';
import {
  RELAY_PROGRAM,
  RelayHome,
  type RunningClient,
  RunningProgram,
  startClient,
  startTunnelProcess,
} from './support/world.js';

const CLIENTS = 10;
const SOCKETS_PER_CLIENT = 20;
/** The promise of the issue; a machine that is busy with other tests may take longer, so the assertion allows more. */
const BACK_MS = 3_000;

interface World {
  readonly manager: NotifySocket;
  readonly home: RelayHome;
  readonly relay: RunningProgram;
  readonly port: number;
  /** Pids of relays that `restart` made. */
  readonly successors: number[];
  readonly site: (name: string) => Site;
}

async function startService(
  t: TestContext,
  options: { yaml?: string; tcpPorts?: string[] } = {},
): Promise<World | undefined> {
  const manager = NotifySocket.start(t);
  if (manager === undefined) return undefined;
  const home = new RelayHome(t, options);
  const relay = new RunningProgram(t, RELAY_PROGRAM, ['serve', '--config', home.configFile], manager.env);
  const listening = JSON.parse(await relay.line('"event":"listening"'));
  const port = Number(listening.https.split(':').pop());
  const successors: number[] = [];
  // Nobody is their parent any more: they end by their pids.
  t.after(() => successors.forEach(endQuietly));
  return {
    manager,
    home,
    relay,
    port,
    successors,
    site: (name) => ({ host: `${name}.relay.localhost`, port, ca: home.ca }),
  };
}

function endQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
}

async function relayVerb(
  t: TestContext,
  world: World,
  ...args: string[]
): Promise<{ code: number | null; said: string }> {
  const all = [RELAY_PROGRAM, ...args, '--config', world.home.configFile];
  const { code, stdout, stderr } = await runTool(t, process.execPath, all);
  return { code, said: stdout + stderr };
}

async function restart(t: TestContext, world: World): Promise<number> {
  const { code, said } = await relayVerb(t, world, 'restart', '--json');
  assert.equal(code, 0, said);
  const { pid } = JSON.parse(said);
  world.successors.push(pid);
  return pid;
}

function echoOrigin(t: TestContext): Promise<Origin> {
  const server = createServer((request, response) => {
    // Some answers take a while, so that the restart meets them half-way.
    const ms = request.url === '/slow' ? 300 : 0;
    setTimeout(() => response.end(`page ${request.url}`), ms);
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  return Origin.listen(t, server);
}

/** Asks 100 times a second until told to stop, and remembers every failure. */
class Load {
  readonly failures: string[] = [];
  count = 0;
  slowestMs = 0;
  readonly #running = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;

  constructor(site: Site) {
    this.#timer = setInterval(() => {
      const asked = this.#ask(site, this.count % 5 === 0 ? '/slow' : '/quick').finally(() =>
        this.#running.delete(asked),
      );
      this.#running.add(asked);
    }, 10);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#running);
  }

  async #ask(site: Site, path: string): Promise<void> {
    this.count += 1;
    const beganAtMs = performance.now();
    try {
      const { status, body, complete } = await ask(site, { path });
      if (status !== 200 || body !== `page ${path}` || !complete) this.failures.push(`${status} ${body}`);
    } catch (error) {
      this.failures.push(String(error));
    }
    this.slowestMs = Math.max(this.slowestMs, performance.now() - beganAtMs);
  }
}

/** One visitor who asks again and again on a connection that it keeps, as browsers do; it never retries. */
async function askOnOneConnection(site: Site, until: Promise<void>): Promise<string[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const failures: string[] = [];
  let isOver = false;
  void until.then(() => {
    isOver = true;
  });
  while (!isOver) {
    const { host, port, ca } = site;
    const asking = request({ host: '127.0.0.1', port, ca, servername: host, agent, headers: { host }, path: '/kept' });
    asking.end();
    try {
      const [response] = await once(asking, 'response');
      if (response.statusCode !== 200) failures.push(String(response.statusCode));
      response.resume();
      await once(response, 'end');
    } catch (error) {
      failures.push(String(error));
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  agent.destroy();
  return failures;
}

test('under 100 requests/s a restart loses none, and kept connections are told before they end', async (t) => {
  const world = await startService(t);
  if (world === undefined) return;
  const origin = await echoOrigin(t);
  const client = await startTunnelProcess(t, world.port, world.home, [origin.tunnel('app')]);
  const site = world.site('app');
  const load = new Load(site);
  let stop = () => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const kept = Promise.all(Array.from({ length: 5 }, () => askOnOneConnection(site, stopped)));
  await until('first answers', () => (load.count > 50 ? true : undefined));

  const pids = [];
  for (let round = 0; round < 2; round += 1) {
    pids.push(await restart(t, world));
    const before = load.count;
    await until('answers of the successor', () => (load.count > before + 80 ? true : undefined));
  }
  stop();
  await load.stop();
  assert.deepEqual(load.failures, []);
  assert.deepEqual((await kept).flat(), []);
  assert.equal(await within('end of the first relay', world.relay.exited), 0);
  assert.equal(new Set([world.relay.pid, ...pids]).size, 3);
  assert.match(world.manager.said, new RegExp(`MAINPID=${pids[1]}\\b`));
  assert.doesNotMatch(world.manager.said, /STOPPING=1/);
  assert.equal(client.child.exitCode, null);
  t.diagnostic(`${load.count} requests, slowest ${load.slowestMs.toFixed(0)} ms`);
});

async function openWebSocket(t: TestContext, site: Site): Promise<WebSocket> {
  const { host, port, ca } = site;
  const socket = new WebSocket(`wss://${host}/`, {
    createConnection: () => connect({ host: '127.0.0.1', port, servername: host, ca }),
  });
  t.after(() => socket.terminate());
  socket.on('error', () => {});
  await once(socket, 'open');
  return socket;
}

async function echoes(socket: WebSocket, text: string): Promise<void> {
  const answer = once(socket, 'message');
  socket.send(text);
  assert.equal(String((await answer)[0]), text);
}

test('under 200 WebSockets every client is back within 3 s, and the WebSockets live until the old process ends', async (t) => {
  const world = await startService(t, { yaml: 'drain_timeout: 4s' });
  if (world === undefined) return;
  const origin = await echoOrigin(t);
  const names = Array.from({ length: CLIENTS }, (_, index) => `home${index}`);
  const clients = await Promise.all(
    names.map((name): Promise<RunningClient> => {
      return startClient(t, world.port, world.home, [origin.tunnel(name)], { clientId: name });
    }),
  );
  const hosts = names.flatMap((name) => Array.from({ length: SOCKETS_PER_CLIENT }, () => name));
  const sockets = await Promise.all(hosts.map((name) => openWebSocket(t, world.site(name))));
  const ended = Promise.all(sockets.map((socket) => once(socket, 'close')));

  await restart(t, world);
  const beganAtMs = performance.now();
  await within(
    'return of every client',
    Promise.all(clients.map(({ event }, at) => event(`up ${names[at]}`, 2))),
    BACK_MS * 3,
  );
  const backMs = performance.now() - beganAtMs;
  // The old process still serves whom it has.
  await Promise.all(sockets.map((socket, at) => echoes(socket, `still ${at}`)));
  const anew = await Promise.all(names.map((name) => openWebSocket(t, world.site(name))));
  await Promise.all(anew.map((socket, at) => echoes(socket, `anew ${at}`)));
  assert.equal(await within('end of the old process', world.relay.exited), 0);
  await within('end of the old WebSockets', ended, AT_ONCE_MS);
  await Promise.all(anew.map((socket, at) => echoes(socket, `later ${at}`)));
  t.diagnostic(
    `${sockets.length} WebSockets of ${CLIENTS} clients; the last client was back after ${backMs.toFixed(0)} ms`,
  );
});

test('a successor that cannot start changes nothing: the old relay goes on and says why', async (t) => {
  const world = await startService(t);
  if (world === undefined) return;
  const origin = await echoOrigin(t);
  await startTunnelProcess(t, world.port, world.home, [origin.tunnel('app')]);
  const text = readFileSync(world.home.configFile, 'utf8');

  writeFileSync(world.home.configFile, `${text}nonsense: true\n`);
  const refused = await relayVerb(t, world, 'restart');
  assert.equal(refused.code, 78, refused.said);
  assert.match(refused.said, /nonsense/);

  // It is right as far as anybody can read, but the address is taken.
  const taken = await Origin.raw(t, () => {});
  writeFileSync(world.home.configFile, text.replace('admin: "127.0.0.1:0"', `admin: "127.0.0.1:${taken.port}"`));
  const failed = await relayVerb(t, world, 'restart');
  assert.equal(failed.code, 78, failed.said);
  const reason = `Cannot listen on 127\\.0\\.0\\.1:${taken.port}: EADDRINUSE\\. Free it or change listen\\.admin\\.`;
  assert.match(failed.said, new RegExp(`Cannot restart: the new process ended with 78: ${reason} The old one goes on`));

  writeFileSync(world.home.configFile, text);
  const answer = await ask(world.site('app'));
  assert.deepEqual([answer.status, world.relay.child.exitCode], [200, null]);
  assert.notEqual(await restart(t, world), world.relay.pid);
  assert.equal((await ask(world.site('app'))).status, 200);
});

test('a successor that cannot use a new state_dir leaves the old relay in its own folder, and it says why', async (t) => {
  const world = await startService(t);
  if (world === undefined) return;
  const { home } = world;
  const { stateDir } = home.config;
  const text = readFileSync(home.configFile, 'utf8');
  writeFileSync(home.configFile, text.replace('state_dir: state', 'state_dir: relay.yaml/nowhere'));
  await assert.rejects(askRelay(stateDir, 'restart'), {
    code: 'CONFIG_INVALID',
    message: /Cannot restart: the new process ended with 78: Cannot .*relay\.yaml.* The old one goes on/,
  });
  assert.ok(world.relay.lines.some((line) => line.includes('relay.yaml')));
  assert.equal((await ask({ ...world.site('app'), host: home.config.domain })).status, 404);
  assert.deepEqual(await askRelay(stateDir, 'reload'), { applied: [], waiting: ['state_dir'] });
  writeFileSync(home.configFile, text);
  assert.notEqual(await restart(t, world), world.relay.pid);
});

test('a parent that is no predecessor is left alone, also when it knows how one begins', async (t) => {
  for (const env of [{}, { SALLYPORT_SUCCESSION: 'guessed' }]) {
    const home = new RelayHome(t);
    const args = ['serve', '--config', home.configFile];
    const child = fork(RELAY_PROGRAM, args, { env: { ...process.env, ...env, NOTIFY_SOCKET: '' }, silent: true });
    t.after(() => child.kill('SIGKILL'));
    const messages: unknown[] = [];
    child.on('message', (message) => {
      messages.push(message);
      child.send('nonsense');
    });
    const { stateDir } = home.config;
    await until('the relay', () => askRelay(stateDir, 'reload').catch(() => undefined));
    assert.ok(!messages.includes('ready') && child.connected);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null]);
  }
});

test('raw TCP ports go over, too: who connects during the restart is served after it', async (t) => {
  const port = await freePort();
  const world = await startService(t, { tcpPorts: [String(port)] });
  if (world === undefined) return;
  const origin = await Origin.raw(t, (socket) => socket.pipe(socket));
  await startTunnelProcess(t, world.port, world.home, [
    `{ name: raw, tcp_port: ${port}, origin: "tcp://127.0.0.1:${origin.port}" }`,
  ]);
  let isOver = false;
  const failures: string[] = [];
  const visits = (async () => {
    while (!isOver) await echoOverTcp(port).catch((error: unknown) => failures.push(String(error)));
  })();
  await restart(t, world);
  assert.equal(await within('end of the old process', world.relay.exited), 0);
  isOver = true;
  await within('the last visit', visits);
  assert.deepEqual(failures, []);
});

test('without a service manager a restart is refused, with the reason', async (t) => {
  const home = new RelayHome(t);
  const relay = new RunningProgram(t, RELAY_PROGRAM, ['serve', '--config', home.configFile], { NOTIFY_SOCKET: '' });
  await relay.line('"event":"listening"');
  const args = [RELAY_PROGRAM, 'restart', '--config', home.configFile];
  const { code, stderr } = await runTool(t, process.execPath, args);
  assert.equal(code, 78);
  assert.match(stderr, /Cannot hand over: no service manager would know the new process/);
});

async function echoOverTcp(port: number): Promise<void> {
  const socket = connectTcp(port, '127.0.0.1');
  socket.end('echo');
  let text = '';
  for await (const chunk of socket) text += chunk;
  assert.equal(text, 'echo');
}
