/**
 * Figure `http2`: small GETs over HTTP/2, 8 connections with 16 streams each, beside the same subject's own HTTP/1.1.
 * Whoever does not offer h2 in ALPN is left out with a line.
 */
import { connect } from 'node:tls';
import { VISITOR_HOST } from '../certificate.js';
import { type Cast, CPU_PER_REQUEST, type Figure } from '../figure.js';
import { type Http2Load, runHttp2 } from '../load/h2load.js';
import { runWrk } from '../load/wrk.js';
import { SMALL_PATH } from '../origin.js';
import type { Stage } from '../stage.js';
import { countCpu, enterSubjects, NOT_THE_BASELINES } from './subject-load.js';

const CONNECTIONS = 8;
const STREAMS = 16;
const HTTP1_CONNECTIONS = 32;
const MICROSECONDS = 1_000_000;

const load = (port: number, seconds: number): Http2Load => ({
  ...{ port, seconds },
  path: SMALL_PATH,
  connections: CONNECTIONS,
  streams: STREAMS,
});

export const http2Requests: Figure = {
  name: 'http2',
  title: `Small GET over HTTP/2, ${CONNECTIONS} connections × ${STREAMS} streams (h2load)`,
  measures: [
    { name: 'rate', title: 'requests/s', digits: 0, beside: 'ratio' },
    CPU_PER_REQUEST,
    { name: 'ofHttp1', title: '× own HTTP/1.1', digits: 2 },
  ],
  targets: [{ measure: 'ofHttp1', is: 'at least', value: 0.6 }],
  enter: enterHttp2,
};

async function enterHttp2(stage: Stage): Promise<Cast> {
  const { seconds } = stage.size;
  const { subjects } = await stage.subjects('files', NOT_THE_BASELINES);
  const cast = await enterSubjects(stage, {
    place: 'files',
    not: NOT_THE_BASELINES,
    warmUp: (scene, { port }) => runHttp2(scene, load(port, 1)),
    measure: async (scene, subject) => {
      const work = () => runHttp2(scene, load(subject.port, seconds));
      const { done, cpu, parts } = await countCpu(subject, work, ({ requests }) => requests, MICROSECONDS);
      const http1Load = { port: subject.port, path: SMALL_PATH, connections: HTTP1_CONNECTIONS, seconds };
      const http1 = await runWrk(scene, http1Load);
      const rate = done.requests / done.seconds;
      return { values: { rate, cpu, ofHttp1: rate / (http1.requests / http1.seconds) }, parts };
    },
  });
  const offers = new Map<string, boolean>();
  for (const { name, port } of subjects) offers.set(name, await offersHttp2(port));
  const without = subjects.filter(({ name }) => offers.get(name) !== true);
  return {
    contestants: cast.contestants.filter(({ name }) => offers.get(name) === true),
    absent: [...cast.absent, ...without.map(({ name }) => ({ name, reason: 'does not offer HTTP/2 (ALPN h2)' }))],
  };
}

/** What ALPN agrees on. False also for a server that takes no connection: the measurement will say why. */
function offersHttp2(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({
      ...{ host: '127.0.0.1', port, servername: VISITOR_HOST },
      ALPNProtocols: ['h2', 'http/1.1'],
      rejectUnauthorized: false,
    });
    socket.once('secureConnect', () => {
      resolve(socket.alpnProtocol === 'h2');
      socket.destroy();
    });
    socket.once('error', () => resolve(false));
  });
}
