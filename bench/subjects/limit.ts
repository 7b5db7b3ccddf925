/**
 * Limit: nginx terminates TLS in front of the origin, without any tunnel. What a tunnel adds, it adds to this.
 *
 * Configured as its documentation advises for a fast proxy: connections to the origin are kept, a slow visitor spills
 * nothing to disk, and the cipher is the one that Sallyport chooses.
 */
import { VISITOR_HOST } from '../certificate.js';
import { freePort, startNginx } from '../nginx.js';
import type { BenchWorld } from '../world.js';
import type { Subject } from './subject.js';

/** Starts it; ended with the world. */
export async function startLimit(world: BenchWorld): Promise<Subject> {
  const port = await freePort();
  const { cert, key } = world.certificate;
  const program = await startNginx(
    world,
    'limit',
    port,
    `  upstream origin {
    server 127.0.0.1:${world.originPort};
    keepalive 64;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port} ssl;
    server_name ${VISITOR_HOST};
    ssl_certificate ${cert};
    ssl_certificate_key ${key};
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_buffers 16 64k;
      proxy_buffer_size 16k;
      proxy_max_temp_file_size 0;
    }
  }`,
  );
  const parts = [{ name: 'nginx', pid: program.pid }];
  return { name: 'limit', what: 'nginx terminating TLS, no tunnel', port, parts };
}
