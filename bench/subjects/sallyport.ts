/**
 * Sallyport itself: `relay serve` and `tunnel up` as the two processes that people run.
 */
import { join } from 'node:path';
import { VISITOR_HOST } from '../certificate.js';
import type { Scene } from '../scene.js';
import { tunnelConfig } from './sallyport-config.js';
import { SallyportRelay, type SallyportRelayOptions } from './sallyport-relay.js';
import type { Subject, SubjectKind } from './subject.js';

export const sallyport: SubjectKind = {
  name: 'sallyport',
  missing: () => undefined,
  start: (scene) => startSallyport(scene, { name: 'sallyport' }),
};

/** Another build of Sallyport, to compare with. */
export function otherSallyport(build: string): SubjectKind {
  return { name: 'other', missing: () => undefined, start: (scene) => startSallyport(scene, { name: 'other', build }) };
}

async function startSallyport(scene: Scene, options: SallyportRelayOptions): Promise<Subject> {
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
    { name: 'relay', pid: relay.pid, side: 'public' },
    { name: 'client', pid: client.pid, side: 'home' },
  ] as const;
  return { name: relay.name, what: 'relay and client', port: relay.port, parts };
}
