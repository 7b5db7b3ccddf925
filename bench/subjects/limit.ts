/**
 * Limit: nginx terminates TLS in front of the origin, without any tunnel. What a tunnel adds, it adds to this.
 */
import { startNginxFront } from './nginx-front.js';
import type { SubjectKind } from './subject.js';

export const limit: SubjectKind = {
  name: 'limit',
  missing: () => undefined,
  start: async (scene) => {
    const upstreamPort = await scene.reach(scene.originPort);
    const { program, port } = await startNginxFront(scene, { name: 'limit', upstreamPort });
    const parts = [{ name: 'nginx', pid: program.pid, side: 'public' }] as const;
    return { name: 'limit', what: 'nginx terminating TLS, no tunnel', port, parts };
  },
};
