/** Programs that people run at home, through raw TCP tunnels: redis, ssh, an MQTT broker. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { requireTool } from './support/require-tool.js';
import { startTcpTunnel, talkTcp } from './support/tcp-tunnel.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool, ToolProcess } from './support/tool-process.js';

const MIB = 1024 * 1024;

/** A redis command in its wire form. */
function resp(...words: string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}

test('redis answers SET and GET, pipelined commands in order, and pushes what others publish', async (t) => {
  const redis = requireTool(t, 'redis-server', 'redis-server');
  if (redis === undefined) return;
  const folder = temporaryFolder(t);
  const socket = join(folder, 'redis.sock');
  const server = new ToolProcess(t, redis, ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', folder]);
  await server.line('eady to accept connections');
  const { port } = await startTcpTunnel(t, `unix:${socket}`);
  const visitor = await talkTcp(t, port);
  const value = 'x'.repeat(1_000_000);
  visitor.send(resp('SET', 'key', value));
  await visitor.until('+OK\r\n');
  visitor.send(resp('GET', 'key'));
  assert.equal(await visitor.until('x\r\n'), `$1000000\r\n${value}\r\n`);
  visitor.send(...Array.from({ length: 1_000 }, () => resp('INCR', 'count')));
  for (let count = 1; count <= 1_000; count += 1) assert.equal(await visitor.until('\r\n'), `:${count}\r\n`);
  const listener = await talkTcp(t, port);
  listener.send(resp('SUBSCRIBE', 'news'));
  await listener.until('subscribe\r\n$4\r\nnews\r\n:1\r\n');
  visitor.send(resp('PUBLISH', 'news', 'hello'));
  await listener.until('message\r\n$4\r\nnews\r\n$5\r\nhello\r\n');
});

interface SshServer {
  readonly port: number;
  /** Arguments of ssh in front of the command. */
  readonly login: string[];
}

/** sshd with keys of its own for the user of this test. */
async function startSshd(t: TestContext, sshd: string, keygen: string): Promise<SshServer> {
  const folder = temporaryFolder(t);
  for (const name of ['host', 'user']) {
    await runTool(t, keygen, ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', join(folder, name)]);
  }
  writeFileSync(join(folder, 'known_hosts'), `* ${readFileSync(join(folder, 'host.pub'), 'utf8')}`);
  const port = await freePort();
  const { username, uid } = userInfo();
  // For root, sshd wants its empty folder, which a service manager would have made.
  if (uid === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const config = [
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${join(folder, 'host')}`,
    `AuthorizedKeysFile ${join(folder, 'user.pub')}`,
    'PidFile none',
    'StrictModes no',
    'UsePAM no',
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    '',
  ];
  writeFileSync(join(folder, 'sshd_config'), config.join('\n'));
  const server = new ToolProcess(t, sshd, ['-D', '-e', '-f', join(folder, 'sshd_config')]);
  await server.line('Server listening on');
  const known = `UserKnownHostsFile=${join(folder, 'known_hosts')}`;
  const options = [known, 'StrictHostKeyChecking=yes', 'IdentitiesOnly=yes', 'BatchMode=yes', 'ConnectTimeout=20'];
  return {
    port,
    login: ['-F', 'none', ...options.flatMap((option) => ['-o', option]), '-i', join(folder, 'user'), '-l', username],
  };
}

test('ssh logs in, carries 16 MiB into a command and brings its output and exit code back', async (t) => {
  const sshd = requireTool(t, 'sshd', 'openssh-server');
  const ssh = requireTool(t, 'ssh', 'openssh-client');
  const keygen = requireTool(t, 'ssh-keygen', 'openssh-client');
  if (sshd === undefined || ssh === undefined || keygen === undefined) return;
  const server = await startSshd(t, sshd, keygen);
  const { port } = await startTcpTunnel(t, `tcp://127.0.0.1:${server.port}`);
  const login = [...server.login, '-p', String(port), '127.0.0.1'];
  const input = randomBytes(16 * MIB);
  const { code, stdout, stderr } = await runTool(t, ssh, [...login, 'sha256sum; exit 7'], input);
  assert.equal(code, 7, stderr);
  assert.equal(stdout, `${createHash('sha256').update(input).digest('hex')}  -\n`);
  const many = await runTool(t, ssh, [...login, 'head -c 16777216 /dev/zero | tr "\\0" "z"; echo done >&2']);
  assert.equal(many.code, 0, many.stderr);
  assert.ok(many.stdout === 'z'.repeat(16 * MIB), '16 MiB of output arrived');
  assert.match(many.stderr, /done/);
});

test('an MQTT broker takes what one visitor publishes and brings it to another', async (t) => {
  const broker = requireTool(t, 'mosquitto', 'mosquitto');
  const publisher = requireTool(t, 'mosquitto_pub', 'mosquitto-clients');
  const subscriber = requireTool(t, 'mosquitto_sub', 'mosquitto-clients');
  if (broker === undefined || publisher === undefined || subscriber === undefined) return;
  const folder = temporaryFolder(t);
  const config = join(folder, 'mosquitto.conf');
  const socket = join(folder, 'mqtt.sock');
  const lines = [
    `user ${userInfo().username}`,
    `listener 0 ${socket}`,
    'allow_anonymous true',
    'persistence false',
    '',
  ];
  writeFileSync(config, lines.join('\n'));
  const server = new ToolProcess(t, broker, ['-v', '-c', config]);
  await server.line(' running');
  const { port } = await startTcpTunnel(t, `unix:${socket}`);
  const where = ['-h', '127.0.0.1', '-p', String(port), '-t', 'home/light', '-q', '1'];
  const listened = runTool(t, subscriber, [...where, '-C', '2', '-i', 'listener']);
  // The broker says it: the listener's own words wait in its buffer.
  await server.line('Sending SUBACK to listener');
  for (const message of ['on', 'off']) {
    const { code, stderr } = await runTool(t, publisher, [...where, '-m', message]);
    assert.equal(code, 0, stderr);
  }
  assert.deepEqual(await listened, { code: 0, stdout: 'on\noff\n', stderr: '' });
});
