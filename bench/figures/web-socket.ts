/**
 * Figure `websocket`: echoes per second: 100 visitors send a message of 128 bytes, wait for its echo, and send again.
 */

import { fileURLToPath } from 'node:url';
import { VISITOR_HOST } from '../certificate.js';
import type { Figure } from '../figure.js';
import type { Scene } from '../scene.js';
import { countCpu, enterSubjects } from './subject-load.js';

const CONNECTIONS = 100;
const MESSAGE_BYTES = 128;
const MICROSECONDS = 1_000_000;
const LOAD = fileURLToPath(new URL('../processes/web-socket-load.js', import.meta.url));

interface Echoes {
  readonly messages: number;
  readonly seconds: number;
}

export const webSocketEcho: Figure = {
  name: 'websocket',
  title: `WebSocket echo, ${CONNECTIONS} connections, messages of ${MESSAGE_BYTES} bytes (load of our own)`,
  measures: [
    { name: 'rate', title: 'messages/s', digits: 0, beside: 'ratio' },
    { name: 'cpu', title: 'CPU µs/message', digits: 1, beside: 'ratio' },
  ],
  targets: [{ measure: 'rate', is: 'at least', value: 0.7, of: 'limit' }],
  enter: (stage) =>
    enterSubjects(stage, {
      place: 'echo',
      // Its link is where its upgrades go.
      not: ['http-proxy'],
      warmUp: (scene, { port }) => runEchoes(scene, port, 1),
      measure: async (scene, subject) => {
        const work = () => runEchoes(scene, subject.port, stage.size.seconds);
        const { done, cpu, parts } = await countCpu(subject, work, ({ messages }) => messages, MICROSECONDS);
        return { values: { rate: done.messages / done.seconds, cpu }, parts };
      },
    }),
};

async function runEchoes(scene: Scene, port: number, seconds: number): Promise<Echoes> {
  const { cert } = scene.world.certificate;
  const args = [LOAD, port, cert, VISITOR_HOST, CONNECTIONS, MESSAGE_BYTES, seconds].map(String);
  return JSON.parse(await scene.programs.run(process.execPath, args, { timeoutMs: (seconds + 15) * 1_000 })) as Echoes;
}
