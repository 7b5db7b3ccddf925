/**
 * Rathole, behind an nginx that ends the visitor's TLS: it forwards TCP and knows no hostnames.
 */
import { join } from 'node:path';
import { accepting, freePort } from '../free-port.js';
import type { Scene } from '../scene.js';
import { startNginxFront } from './nginx-front.js';
import { missingPeers, requirePeer } from './peer-programs.js';
import { ratholeClientConfig, ratholeServerConfig } from './rathole-config.js';
import type { Subject, SubjectKind } from './subject.js';

/** Secrets of the bench alone. */
const TOKEN = 'bench';
const PASSWORD = 'bench';

export const nginxRathole: SubjectKind = { name: 'nginx+rathole', missing: () => missingPeers(['rathole']), start };

async function start(scene: Scene): Promise<Subject> {
  const name = 'nginx+rathole';
  const rathole = requirePeer('rathole');
  const [bindPort, servicePort] = [await freePort(), await freePort()];
  const server = scene.programs.start(rathole, [await writeServerConfig(scene, bindPort, servicePort)]);
  await server.until(accepting(bindPort));
  const clientText = ratholeClientConfig({
    serverPort: await scene.reach(bindPort),
    originPort: scene.originPort,
    token: TOKEN,
    caFile: scene.world.certificate.cert,
  });
  const client = scene.programs.start(rathole, [scene.writeConfig(`${name} client.toml`, clientText)]);
  await client.until(accepting(servicePort));
  const front = await startNginxFront(scene, { name: `${name}-front`, upstreamPort: servicePort });
  const parts = [
    { name: 'nginx', pid: front.program.pid, side: 'public' },
    { name: 'server', pid: server.pid, side: 'public' },
    { name: 'client', pid: client.pid, side: 'home' },
  ] as const;
  return { name, what: 'nginx terminating TLS, rathole over TLS', port: front.port, parts };
}

async function writeServerConfig(scene: Scene, bindPort: number, servicePort: number): Promise<string> {
  const pkcs12File = await makePkcs12(scene);
  const text = ratholeServerConfig({ bindPort, servicePort, token: TOKEN, pkcs12File, pkcs12Password: PASSWORD });
  return scene.writeConfig('nginx+rathole server.toml', text);
}

async function makePkcs12(scene: Scene): Promise<string> {
  const { tools, certificate } = scene.world;
  const file = join(scene.folder, 'identity.pfx');
  const pair = ['-inkey', certificate.key, '-in', certificate.cert, '-passout', `pass:${PASSWORD}`];
  await scene.programs.run(tools.openssl, ['pkcs12', '-export', ...pair, '-out', file], { timeoutMs: 10_000 });
  return file;
}
