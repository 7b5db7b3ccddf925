/**
 * Nginx: starts an nginx of ours from a generated config, in its own folder, and waits until it accepts.
 */
import { mkdirSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { accepting } from './free-port.js';
import type { Program } from './programs.js';
import type { Scene } from './scene.js';

/** Connections that one worker takes; both ends of a proxied visitor count. */
const WORKER_CONNECTIONS = 4_096;

export interface NginxOptions {
  /** Unique in the scene. */
  readonly name: string;
  /** On loopback; where one of the servers in `http` listens. */
  readonly port: number;
  /** The lines of the block `http`. */
  readonly http: string;
  /** Connections that one worker takes; 4,096 when left out. */
  readonly connections?: number;
}

/** Starts an nginx. Resolves when it accepts on `port`. */
export async function startNginx(scene: Scene, options: NginxOptions): Promise<Program> {
  const folder = join(scene.folder, options.name);
  mkdirSync(folder);
  const config = nginxConfig(folder, options);
  const file = scene.writeConfig(`${options.name} nginx.conf`, config);
  const program = scene.programs.start(scene.world.tools.nginx, ['-c', file, '-e', join(folder, 'error.log')]);
  await program.until(accepting(options.port));
  return program;
}

function nginxConfig(folder: string, { http, connections = WORKER_CONNECTIONS }: NginxOptions): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const paths = temporary.map((kind) => `  ${kind}_temp_path ${folder}/${kind};`).join('\n');
  // Root starts workers as another user, who may not read our folder.
  const user = process.getuid?.() === 0 ? `user ${userInfo().username};\n` : '';
  return `${user}worker_processes auto;
daemon off;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log error;
worker_rlimit_nofile ${connections + 64};
events { worker_connections ${connections}; }
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
