/**
 * NginxFront: an nginx that terminates TLS in front of something that speaks plain HTTP: the origin itself (the limit), or
 * the public end of a peer that does not do it.
 *
 * Configured as its documentation advises for a fast proxy: connections behind it are kept, nothing is spilled to disk,
 * uploads stream, and the cipher is the one that Sallyport chooses.
 */
import type { CertificatePaths } from '../certificate.js';
import { RELAY_HOST } from '../certificate.js';
import { freePort } from '../free-port.js';
import { startNginx } from '../nginx.js';
import type { Program } from '../programs.js';
import type { Scene } from '../scene.js';

export interface NginxFrontOptions {
  /** Of the subject: unique in the scene. */
  readonly name: string;
  /** Where it forwards to, on loopback. */
  readonly upstreamPort: number;
  /** Connections that one worker takes; nginx.ts decides when left out. */
  readonly connections?: number;
}

export interface NginxFront {
  readonly program: Program;
  readonly port: number;
}

/** Starts it; ended with the scene. */
export async function startNginxFront(scene: Scene, options: NginxFrontOptions): Promise<NginxFront> {
  const port = await freePort();
  const http = frontConfig(port, options.upstreamPort, scene.world.certificate);
  const { name, connections } = options;
  const program = await startNginx(scene, { name, port, http, ...(connections ? { connections } : {}) });
  return { program, port };
}

/** The lines of the block `http`. */
export function frontConfig(port: number, upstreamPort: number, { cert, key }: CertificatePaths): string {
  return `  map $http_upgrade $connection_field {
    default upgrade;
    '' '';
  }
  upstream behind {
    server 127.0.0.1:${upstreamPort};
    keepalive 64;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port} ssl http2 backlog=4096;
    server_name .${RELAY_HOST};
    ssl_certificate ${cert};
    ssl_certificate_key ${key};
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    client_max_body_size 0;
    location / {
      proxy_pass http://behind;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_field;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_buffers 16 64k;
      proxy_buffer_size 16k;
      proxy_max_temp_file_size 0;
      proxy_request_buffering off;
      proxy_read_timeout 600s;
    }
  }`;
}
