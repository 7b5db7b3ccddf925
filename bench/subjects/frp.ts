/**
 * Frp, in the two ways in which people serve HTTPS with it: nginx ends TLS in front of its HTTP host, or frps passes TLS
 * through and frpc ends it at home (plugin https2http).
 */
import { VISITOR_HOST } from '../certificate.js';
import { accepting, freePort } from '../free-port.js';
import type { Program } from '../programs.js';
import type { Scene } from '../scene.js';
import { type FrpcOptions, frpcConfig, frpsConfig } from './frp-config.js';
import { startNginxFront } from './nginx-front.js';
import { missingPeers, requirePeer } from './peer-programs.js';
import type { Subject, SubjectKind } from './subject.js';

/** A secret of the bench alone. */
const TOKEN = 'bench';

const missing = () => missingPeers(['frps', 'frpc']);

export const nginxFrp: SubjectKind = { name: 'nginx+frp', missing, start: startNginxFrp };
export const frpHttps: SubjectKind = { name: 'frp-https2http', missing, start: startFrpHttps };

async function startNginxFrp(scene: Scene): Promise<Subject> {
  const name = 'nginx+frp';
  const server = await FrpServer.start(scene, name, 'httpPort');
  const client = await startFrpClient(scene, server, { hosts: [VISITOR_HOST], tlsEnds: 'before frps' });
  const front = await startNginxFront(scene, { name: `${name}-front`, upstreamPort: server.visitorPort });
  const parts = [
    { name: 'nginx', pid: front.program.pid, side: 'public' },
    { name: 'frps', pid: server.pid, side: 'public' },
    { name: 'frpc', pid: client.pid, side: 'home' },
  ] as const;
  return { name, what: 'nginx terminating TLS, frp http, tcpMux, TLS', port: front.port, parts };
}

async function startFrpHttps(scene: Scene): Promise<Subject> {
  const name = 'frp-https2http';
  const server = await FrpServer.start(scene, name, 'httpsPort');
  const client = await startFrpClient(scene, server, { hosts: [VISITOR_HOST], tlsEnds: 'in frpc' });
  const parts = [
    { name: 'frps', pid: server.pid, side: 'public' },
    { name: 'frpc', pid: client.pid, side: 'home' },
  ] as const;
  return { name, what: 'frps passing TLS through, frpc terminating it', port: server.visitorPort, parts };
}

/** Frps, on the same ports across restarts. */
export class FrpServer {
  readonly name: string;
  readonly bindPort: number;
  /** Where visitors, or the nginx in front, connect. */
  readonly visitorPort: number;
  readonly #scene: Scene;
  readonly #configFile: string;
  #program: Program | undefined;

  private constructor(scene: Scene, name: string, kind: 'httpPort' | 'httpsPort', ports: readonly [number, number]) {
    [this.bindPort, this.visitorPort] = ports;
    this.name = name;
    this.#scene = scene;
    const { certificate } = scene.world;
    const text = frpsConfig({ bindPort: this.bindPort, [kind]: this.visitorPort, token: TOKEN, certificate });
    this.#configFile = scene.writeConfig(`${name} frps.toml`, text);
  }

  static async start(scene: Scene, name: string, kind: 'httpPort' | 'httpsPort'): Promise<FrpServer> {
    const server = new FrpServer(scene, name, kind, [await freePort(), await freePort()]);
    await server.start();
    return server;
  }

  get pid(): number {
    return this.#program?.pid ?? 0;
  }

  async start(): Promise<void> {
    const program = this.#scene.programs.start(requirePeer('frps'), ['-c', this.#configFile]);
    this.#program = program;
    await program.until(accepting(this.bindPort));
  }

  async end(): Promise<void> {
    await this.#program?.end();
  }
}

/** Starts a client of this server; resolves when its proxies are up. */
export async function startFrpClient(
  scene: Scene,
  server: FrpServer,
  options: Pick<FrpcOptions, 'hosts' | 'tlsEnds' | 'user'>,
): Promise<Program> {
  const { originPort, world } = scene;
  const serverPort = await scene.reach(server.bindPort);
  const text = frpcConfig({ ...options, serverPort, originPort, token: TOKEN, certificate: world.certificate });
  const file = scene.writeConfig(`${server.name} frpc${options.user ?? ''}.toml`, text, `${server.name} frpc.toml`);
  const client = scene.programs.start(requirePeer('frpc'), ['-c', file]);
  await client.line('start proxy success');
  return client;
}
