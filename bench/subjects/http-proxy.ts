/**
 * The baseline: http-proxy 1.18.1 over the same mux and the same link, as two processes. It is what the relay would be
 * without shared/http, and stands here so that the decision against it can be checked on any machine.
 */
import { fileURLToPath } from 'node:url';
import type { BenchWorld } from '../world.js';
import type { Subject } from './subject.js';

const program = (name: string) => fileURLToPath(new URL(`${name}.js`, import.meta.url));

/** Starts it; ended with the world. */
export async function startHttpProxy(world: BenchWorld): Promise<Subject> {
  const { cert, key } = world.certificate;
  const flags = (part: string) => world.nodeFlags(`http-proxy-${part}`);
  const relayArgs = [...flags('relay'), program('http-proxy-relay'), cert, key];
  const relay = world.programs.start(process.execPath, relayArgs);
  const port = Number((await relay.line('listening ')).split(' ').at(-1));
  const clientArgs = [...flags('client'), program('http-proxy-client'), cert, String(port), String(world.originPort)];
  const client = world.programs.start(process.execPath, clientArgs);
  await client.line('joined');
  const parts = [
    { name: 'relay', pid: relay.pid },
    { name: 'client', pid: client.pid },
  ];
  return { name: 'http-proxy', what: 'http-proxy over the same mux', port, parts };
}
