/**
 * FrpCrowd: nginx and frps with many clients, each a process, because frpc is one client.
 */
import { readFileSync } from 'node:fs';
import { cpuSeconds } from '../cpu-time.js';
import type { Program } from '../programs.js';
import type { Scene } from '../scene.js';
import type { Crowd, CrowdKind, Restart } from './crowd.js';
import { FrpServer, startFrpClient } from './frp.js';
import { type NginxFront, startNginxFront } from './nginx-front.js';
import { missingPeers } from './peer-programs.js';
import type { SubjectPart } from './subject.js';

/** What one frpc needs, generously. */
const CLIENT_BYTES = 24 * 1024 ** 2;

/** Clients that start at a time. */
const STARTING = 16;

const SERVING = 'start proxy success';

export const frpCrowd: CrowdKind = {
  name: 'nginx+frp',
  what: 'nginx and frps, clients of 1 link each',
  missing: (clients) => missingPeers(['frps', 'frpc']) ?? missingMemory(clients),
  start: async (scene, connections) => {
    const name = 'nginx+frp';
    const server = await FrpServer.start(scene, name, 'httpPort');
    const options = { name: `${name}-front`, upstreamPort: server.visitorPort, connections };
    return new FrpCrowd(scene, server, await startNginxFront(scene, options));
  },
};

function missingMemory(clients: number): string | undefined {
  const available = Number(/^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'latin1'))?.[1]) * 1024;
  const needed = clients * CLIENT_BYTES;
  if (!(available < needed)) return undefined;
  return `${clients} processes of frpc need ${Math.ceil(needed / 1024 ** 3)} GiB of memory`;
}

class FrpCrowd implements Crowd {
  readonly #scene: Scene;
  readonly #server: FrpServer;
  readonly #front: NginxFront;
  readonly #clients: Program[] = [];

  constructor(scene: Scene, server: FrpServer, front: NginxFront) {
    this.#scene = scene;
    this.#server = server;
    this.#front = front;
  }

  get port(): number {
    return this.#front.port;
  }

  get parts(): SubjectPart[] {
    return [
      { name: 'nginx', pid: this.#front.program.pid, side: 'public' },
      { name: 'frps', pid: this.#server.pid, side: 'public' },
      ...this.#clients.map(({ pid }) => ({ name: 'frpc', pid, side: 'home' }) as const),
    ];
  }

  async join(clients: number, hosts: readonly string[]): Promise<void> {
    const perClient = Math.ceil(hosts.length / clients);
    let next = 0;
    const keepStarting = async () => {
      while (next < clients) {
        const index = next;
        next += 1;
        const own = hosts.slice(index * perClient, (index + 1) * perClient);
        const options = { hosts: own, tlsEnds: 'before frps', user: `c${index}` } as const;
        this.#clients.push(await startFrpClient(this.#scene, this.#server, options));
      }
    };
    await Promise.all(Array.from({ length: STARTING }, keepStarting));
  }

  async restart(): Promise<Restart> {
    await this.#server.end();
    const served = Promise.all(this.#clients.map(servesAgain));
    await this.#server.start();
    const beganAtMs = performance.now();
    const before = cpuSeconds(this.#server.pid);
    await served;
    const seconds = (performance.now() - beganAtMs) / 1_000;
    return { seconds, cpuSeconds: cpuSeconds(this.#server.pid) - before };
  }
}

function servesAgain(client: Program): Promise<void> {
  return new Promise((resolve) => {
    const stopListening = client.onLine((line) => {
      if (!line.includes(SERVING)) return;
      stopListening();
      resolve();
    });
  });
}
