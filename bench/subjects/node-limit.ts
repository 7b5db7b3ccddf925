/**
 * NodeLimit: what Node itself costs: it ends TLS and pipes to the origin, no tunnel, and no code of ours. The regression
 * guard compares with it, because a busy machine, another processor or another Node makes it dearer as it makes us dearer.
 */
import { startProcess } from '../processes/start-process.js';
import type { SubjectKind } from './subject.js';

export const nodeLimit: SubjectKind = {
  name: 'node',
  missing: () => undefined,
  start: async (scene) => {
    const { cert, key } = scene.world.certificate;
    const originPort = await scene.reach(scene.originPort);
    const program = startProcess(scene.programs, 'tls-pipe', [cert, key, String(originPort)]);
    const port = Number((await program.line('listening ')).split(' ').at(-1));
    const parts = [{ name: 'node', pid: program.pid, side: 'public' }] as const;
    return { name: 'node', what: 'Node terminating TLS and piping, no tunnel', port, parts };
  },
};
