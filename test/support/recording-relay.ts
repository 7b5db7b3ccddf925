/**
 * A relay in a process of its own that records every byte which any socket of it reads or writes, above TLS where TLS
 * ends in that process: what the relay could know of its visitors, and nothing less.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { startNode } from './node-process.js';
import { temporaryFolder } from './temporary-folder.js';
import type { RelayHome } from './world.js';

/** Patches the sockets before anything of the relay is loaded; TLSSocket inherits from Socket. */
const PROGRAM = `
  import { writeFileSync } from 'node:fs';
  import { Socket } from 'node:net';
  import { createInterface } from 'node:readline';
  const records = new Map();
  function record(socket, direction, bytes, encoding) {
    if (socket === process.stdin || socket === process.stdout || socket === process.stderr) return;
    const [read, written] = records.get(socket) ?? records.set(socket, [[], []]).get(socket);
    const copy = typeof bytes === 'string' ? Buffer.from(bytes, encoding) : Buffer.from(bytes);
    (direction === 'read' ? read : written).push(copy);
  }
  const { emit, write } = Socket.prototype;
  Socket.prototype.emit = function (event, ...args) {
    if (event === 'data') record(this, 'read', args[0]);
    return emit.call(this, event, ...args);
  };
  Socket.prototype.write = function (bytes, encoding, done) {
    record(this, 'written', bytes, typeof encoding === 'string' ? encoding : undefined);
    return write.call(this, bytes, encoding, done);
  };
  const { Relay } = await load('relay-server/relay.js');
  const { readRelayConfig } = await load('relay-server/relay-config.js');
  const { silentLog } = await load('shared/log.js');
  const [config, file] = process.argv.slice(1);
  const relay = await Relay.start(readRelayConfig(config), silentLog);
  console.log(relay.listeners[0].address.split(':').at(-1));
  for await (const line of createInterface({ input: process.stdin })) {
    if (line !== 'dump') break;
    writeFileSync(file, Buffer.concat([...records.values()].flat(2)));
    console.log('dumped');
  }
  process.exit(0);
`;

export interface RecordingRelay {
  readonly https: number;
  /** Everything recorded so far; the bytes of one socket and direction stand together, in order. */
  dump(): Promise<Buffer>;
}

export async function startRecordingRelay(t: TestContext, home: RelayHome): Promise<RecordingRelay> {
  const file = join(temporaryFolder(t), 'bytes');
  const relay = startNode(t, PROGRAM, [home.configFile, file]);
  const https = Number(await relay.line());
  return {
    https,
    dump: async () => {
      relay.child.stdin?.write('dump\n');
      await relay.line();
      return readFileSync(file);
    },
  };
}
