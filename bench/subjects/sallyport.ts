/**
 * Sallyport itself: `relay serve` and `tunnel up` as the two processes that people run.
 */
import { join } from 'node:path';
import { VISITOR_HOST } from '../certificate.js';
import type { Program } from '../programs.js';
import type { Scene } from '../scene.js';
import { tunnelConfig } from './sallyport-config.js';
import { SallyportRelay, type SallyportRelayOptions } from './sallyport-relay.js';
import type { Subject, SubjectKind } from './subject.js';

export const sallyport: SubjectKind = {
  name: 'sallyport',
  missing: () => undefined,
  start: async (scene) => (await startSallyport(scene, { name: 'sallyport' })).subject,
};

/** The same with two TLS workers at the relay. */
export const sallyportWorkers: SubjectKind = {
  name: 'sallyport-workers',
  missing: () => undefined,
  start: async (scene) => (await startSallyport(scene, { name: 'sallyport-workers', workers: 2 })).subject,
};

/** Another build of Sallyport, to compare with. */
export function otherSallyport(build: string): SubjectKind {
  const start = async (scene: Scene) => (await startSallyport(scene, { name: 'other', build })).subject;
  return { name: 'other', missing: () => undefined, start };
}

/** A subject, and its two programs for a figure that looks into them. */
export interface RunningSallyport {
  readonly subject: Subject;
  readonly relay: SallyportRelay;
  readonly client: Program;
}

/** Starts both programs; resolves when the tunnel is up. */
export async function startSallyport(scene: Scene, options: SallyportRelayOptions): Promise<RunningSallyport> {
  const relay = await SallyportRelay.start(scene, options);
  const text = tunnelConfig({
    relayPort: relay.port,
    linkPort: await scene.reach(relay.port),
    caFile: scene.world.certificate.cert,
    originPort: scene.originPort,
    hosts: [VISITOR_HOST],
  });
  const file = scene.writeConfig(join(relay.name, 'tunnel.yaml'), text);
  const client = relay.startNode('tunnel-client', 'client', ['up', '--json', '--config', file]);
  await client.line('"event":"up"');
  const parts = [
    {
      name: 'relay',
      pid: relay.pid,
      ...(options.workers === undefined ? {} : { children: 'workers' }),
      side: 'public',
    },
    { name: 'client', pid: client.pid, side: 'home' },
  ] as const;
  return { subject: { name: relay.name, what: 'relay and client', port: relay.port, parts }, relay, client };
}
