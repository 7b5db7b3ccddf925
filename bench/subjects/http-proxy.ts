/**
 * The baseline: http-proxy 1.18.1 over the same mux and the same link, as two processes. It is what the relay would be
 * without shared/http, and stands here so that the decision against it can be checked on any machine.
 */
import { fileURLToPath } from 'node:url';
import type { Scene } from '../scene.js';
import type { Subject, SubjectKind } from './subject.js';

const program = (name: string) => fileURLToPath(new URL(`${name}.js`, import.meta.url));

export const httpProxy: SubjectKind = { name: 'http-proxy', missing: () => undefined, start };

async function start(scene: Scene): Promise<Subject> {
  const { programs, world, originPort } = scene;
  const { cert, key } = world.certificate;
  const flags = (part: string) => world.nodeFlags(`http-proxy-${part}`);
  const relayArgs = [...flags('relay'), program('http-proxy-relay'), cert, key];
  const relay = programs.start(process.execPath, relayArgs);
  const port = Number((await relay.line('listening ')).split(' ').at(-1));
  const linkPort = await scene.reach(port);
  const clientArgs = [...flags('client'), program('http-proxy-client'), cert, String(linkPort), String(originPort)];
  const client = programs.start(process.execPath, clientArgs);
  await client.line('joined');
  const parts = [
    { name: 'relay', pid: relay.pid, side: 'public' },
    { name: 'client', pid: client.pid, side: 'home' },
  ] as const;
  return { name: 'http-proxy', what: 'http-proxy over the same mux', port, parts };
}
