/**
 * Nginx: starts an nginx of ours from a generated config, in its own folder, and waits until it accepts.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { TunnelError } from '../shared/errors.js';
import type { Program } from './programs.js';
import type { BenchWorld } from './world.js';

const READY_MS = 10_000;
const POLL_MS = 20;

/** Starts nginx with these lines in its `http` block. Resolves when it accepts on `port`. */
export async function startNginx(world: BenchWorld, name: string, port: number, http: string): Promise<Program> {
  const folder = join(world.folder, name);
  mkdirSync(folder);
  const config = nginxConfig(folder, http);
  const file = join(folder, 'nginx.conf');
  writeFileSync(file, config);
  world.configs.set(`${name} nginx.conf`, config);
  const program = world.programs.start(world.tools.nginx, ['-c', file, '-e', join(folder, 'error.log')]);
  await accepting(port);
  return program;
}

function nginxConfig(folder: string, http: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const paths = temporary.map((kind) => `  ${kind}_temp_path ${folder}/${kind};`).join('\n');
  // Root starts workers as another user, who may not read our folder.
  const user = process.getuid?.() === 0 ? `user ${userInfo().username};\n` : '';
  return `${user}worker_processes auto;
daemon off;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log error;
events { worker_connections 4096; }
http {
${paths}
  access_log off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
${http}
}
`;
}

/** A port of loopback that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new TunnelError('INTERNAL', 'Cannot find a free port');
  return address.port;
}

async function accepting(port: number): Promise<void> {
  const untilMs = performance.now() + READY_MS;
  while (!(await accepts(port))) {
    if (performance.now() > untilMs) throw new TunnelError('INTERNAL', `Cannot go on: nothing accepts on port ${port}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
