/**
 * Visitors: many at once, who ask for something and then do nothing: `idle` ones got their answer and keep the
 * connection, `stalled` ones stopped reading in the middle of it.
 *
 * Arguments: port, CA file, how many, `idle` or `stalled`, path, then the hostnames that they take in turn. Says
 * `present N` when all have come. Ends with a signal.
 */
import { readFileSync } from 'node:fs';
import { connect } from 'node:tls';

/** Handshakes under way at a time: a crowd, and no flood. */
const ARRIVING = 32;
/** As long as timers can wait: 24 days. */
const STAY_MS = 2 ** 31 - 1;
const HEAD_END = '\r\n\r\n';

const [port = '', caFile = '', count = '', manner = '', path = '', ...hosts] = process.argv.slice(2);
const ca = readFileSync(caFile);
let arrived = 0;
let leaving = false;

process.once('SIGTERM', () => {
  leaving = true;
  process.exit();
});

function fail(reason: string): never {
  if (!leaving) console.error(reason);
  process.exit(1);
}

/** Resolves when the visitor is there, and idle or stalled. */
function visit(host: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port: Number(port), servername: host, ca });
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    socket.on('error', (error) => fail(`visitor ${arrived}: ${error.message}`));
    socket.on('close', () => fail(`visitor ${arrived} was sent away`));
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
      if (!answer.startsWith('HTTP/1.1 200')) fail(`visitor ${arrived} got ${answer.slice(0, 200)}`);
      if (manner === 'stalled') socket.pause();
      if (manner === 'stalled' || isWhole(answer)) resolve();
    });
  });
}

function isWhole(answer: string): boolean {
  const end = answer.indexOf(HEAD_END);
  const length = /^content-length: *(\d+)/im.exec(answer.slice(0, end))?.[1];
  return end >= 0 && length !== undefined && answer.length >= end + HEAD_END.length + Number(length);
}

async function keepArriving(): Promise<void> {
  while (arrived < Number(count)) {
    const host = hosts[arrived % hosts.length] ?? '';
    arrived += 1;
    await visit(host);
  }
}

await Promise.all(Array.from({ length: ARRIVING }, keepArriving));
// A socket that nobody reads does not keep a process alive.
setInterval(() => {}, STAY_MS);
console.log(`present ${count}`);
