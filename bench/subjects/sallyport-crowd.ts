/**
 * SallyportCrowd: `relay serve` with many clients, all of them in one process of their own.
 */
import { join } from 'node:path';
import { cpuSeconds } from '../cpu-time.js';
import { startProcess } from '../processes/start-process.js';
import type { Program } from '../programs.js';
import type { Scene } from '../scene.js';
import type { Crowd, CrowdKind, Restart } from './crowd.js';
import { tunnelConfig } from './sallyport-config.js';
import { SallyportRelay } from './sallyport-relay.js';
import type { SubjectPart } from './subject.js';

/** How long a crowd may take to join. */
const JOIN_MS = 120_000;

/** All visitors and clients of the bench come from one address, with one token, and idle for longer than a keep-alive. */
const crowdLimits = (connections: number) => ({
  connections,
  connections_per_ip: connections,
  links_per_ip: connections,
  keep_alive_timeout: '10m',
  tunnels_per_session: 1_000,
  hostnames_per_token: 1_000,
});

export const sallyportCrowd: CrowdKind = {
  name: 'sallyport',
  what: 'relay and clients of 2 links each',
  missing: () => undefined,
  start: (scene, connections) => startSallyportCrowd(scene, 'sallyport', connections),
};

/** Starts the relay of a crowd under a name that is unique in the scene. */
export async function startSallyportCrowd(scene: Scene, name: string, connections: number): Promise<Crowd> {
  const relay = await SallyportRelay.start(scene, { name, limits: crowdLimits(connections) });
  return new SallyportCrowd(scene, relay);
}

class SallyportCrowd implements Crowd {
  readonly #scene: Scene;
  readonly #relay: SallyportRelay;
  #clients: Program | undefined;
  #tunnels = 0;

  constructor(scene: Scene, relay: SallyportRelay) {
    this.#scene = scene;
    this.#relay = relay;
  }

  get port(): number {
    return this.#relay.port;
  }

  get parts(): SubjectPart[] {
    const relay = { name: 'relay', pid: this.#relay.pid, side: 'public' } as const;
    return this.#clients === undefined ? [relay] : [relay, { name: 'clients', pid: this.#clients.pid, side: 'home' }];
  }

  async join(clients: number, hosts: readonly string[]): Promise<void> {
    const { port } = this.#relay;
    const { originPort, world } = this.#scene;
    const caFile = world.certificate.cert;
    const text = tunnelConfig({ relayPort: port, linkPort: port, caFile, originPort, hosts });
    const file = this.#scene.writeConfig(join(this.#relay.name, 'tunnel.yaml'), text);
    this.#clients = startProcess(this.#scene.programs, 'crowd-clients', [file, String(clients)]);
    this.#tunnels = hosts.length;
    await this.#clients.line(`serving ${this.#tunnels}`, JOIN_MS);
  }

  async restart(): Promise<Restart> {
    await this.#relay.end();
    // What the clients said before is over when the relay is.
    await this.#clients?.line('serving 0');
    const served = this.#servesAgain();
    await this.#relay.start();
    const beganAtMs = performance.now();
    const before = cpuSeconds(this.#relay.pid);
    await served;
    const seconds = (performance.now() - beganAtMs) / 1_000;
    return { seconds, cpuSeconds: cpuSeconds(this.#relay.pid) - before };
  }

  async #servesAgain(): Promise<void> {
    const clients = this.#clients;
    if (clients === undefined) return;
    const wanted = `serving ${this.#tunnels}`;
    await new Promise<void>((resolve) => {
      const stopListening = clients.onLine((line) => {
        if (line !== wanted) return;
        stopListening();
        resolve();
      });
    });
  }
}
