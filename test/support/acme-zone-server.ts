/** A small primary DNS server: one zone, TXT and CNAME records, dynamic update with TSIG; UDP and TCP on one port. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { TestContext } from 'node:test';
import { freePort } from '../../bench/free-port.js';
import {
  CLASS,
  type DnsKey,
  type DnsMessage,
  type DnsRecord,
  readMessage,
  TYPE,
  writeName,
  writeRecord,
} from '../../shared/certs/dns-message.js';
import { type DnsSigningKey, problemOfSignature, signMessage } from '../../shared/certs/dns-signature.js';

type Record_ = Omit<DnsRecord, 'offset'>;
const NOERROR = 0;
const REFUSED = 5;
const NOTAUTH = 9;

export class ZoneServer {
  readonly port: number;
  /** Every update that was applied: `add NAME` or `remove NAME`. */
  readonly changes: string[] = [];
  readonly zone: string;
  readonly #key: DnsSigningKey;
  #records: Record_[] = [];

  private constructor(zone: string, key: DnsSigningKey, port: number) {
    this.zone = zone;
    this.#key = key;
    this.port = port;
  }

  static async start(t: Pick<TestContext, 'after'>, zone: string, key: DnsSigningKey): Promise<ZoneServer> {
    const server = new ZoneServer(zone, key, await freePort());
    const udp = createSocket('udp4');
    udp.on('message', (message, { port, address }) => udp.send(server.#answer(message), port, address));
    udp.bind(server.port, '127.0.0.1');
    await once(udp, 'listening');
    t.after(() => udp.close());
    const tcp = createServer((socket) => {
      socket.on('error', () => {});
      // A client of a test sends one message in one piece.
      socket.on('data', (piece) => socket.write(framed(server.#answer(piece.subarray(2)))));
    }).listen(server.port, '127.0.0.1');
    await once(tcp, 'listening');
    t.after(() => tcp.close());
    return server;
  }

  addCname(name: string, target: string): void {
    this.#records.push({ name, type: TYPE.CNAME, class: CLASS.IN, ttl: 1, data: writeName(target) });
  }

  #answer(bytes: Buffer): Buffer {
    const message = readMessage(bytes);
    return (message.flags >> 11) & 0xf ? this.#update(bytes, message) : this.#query(bytes, message);
  }

  #query(bytes: Buffer, { questions }: DnsMessage): Buffer {
    const [question] = questions;
    const found = question ? this.#find(question) : [];
    const soa = { name: this.zone, type: TYPE.SOA, class: CLASS.IN, ttl: 1, data: soaData(this.zone) };
    return response(bytes, NOERROR, question, found, found.length > 0 ? [] : [soa]);
  }

  #find({ name, type }: DnsKey): Record_[] {
    const owned = this.#records.filter((record) => record.name === name);
    const cname = owned.find((record) => record.type === TYPE.CNAME);
    if (cname === undefined || type === TYPE.CNAME) return owned.filter((record) => record.type === type);
    const target = readMessageName(cname.data);
    return [cname, ...this.#find({ name: target, type, class: CLASS.IN })];
  }

  #update(bytes: Buffer, { questions, authority, additional }: DnsMessage): Buffer {
    const nowSeconds = Math.floor(Date.now() / 1_000);
    if (problemOfSignature(bytes, this.#key, nowSeconds) !== undefined)
      return response(bytes, NOTAUTH, questions[0], [], []);
    const isOurs = questions[0]?.name === this.zone && authority.every(({ name }) => name.endsWith(`.${this.zone}`));
    if (isOurs) for (const record of authority) this.#apply(record);
    const answer = response(bytes, isOurs ? NOERROR : REFUSED, questions[0], [], []);
    const priorMac = macIn(additional.at(-1));
    return signMessage(answer, this.#key, nowSeconds, priorMac).bytes;
  }

  #apply(record: DnsRecord): void {
    const isSame = (one: Record_) =>
      one.name === record.name && one.type === record.type && one.data.equals(record.data);
    this.#records = this.#records.filter((one) => !isSame(one));
    if (record.class === CLASS.IN) this.#records.push(record);
    this.changes.push(`${record.class === CLASS.IN ? 'add' : 'remove'} ${record.name}`);
  }
}

function response(
  request: Buffer,
  rcode: number,
  question: DnsKey | undefined,
  answers: readonly Record_[],
  authority: readonly Record_[],
): Buffer {
  const header = Buffer.alloc(12);
  request.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8400 | (request.readUInt16BE(2) & 0x7900) | rcode, 2);
  for (const [index, count] of [question ? 1 : 0, answers.length, authority.length, 0].entries()) {
    header.writeUInt16BE(count, 4 + 2 * index);
  }
  const asked = question
    ? writeRecord({ ...question, ttl: 0, data: Buffer.alloc(0) }).subarray(0, -6)
    : Buffer.alloc(0);
  return Buffer.concat([header, asked, ...answers.map(writeRecord), ...authority.map(writeRecord)]);
}

function macIn(record: DnsRecord | undefined): Buffer {
  const data = record?.data ?? Buffer.alloc(0);
  const begin = writeName('hmac-sha256').length + 10;
  return data.subarray(begin, begin + data.readUInt16BE(begin - 2));
}

function soaData(zone: string): Buffer {
  return Buffer.concat([writeName(`ns.${zone}`), writeName(`admin.${zone}`), Buffer.alloc(20)]);
}

function readMessageName(data: Buffer): string {
  const labels: string[] = [];
  for (let at = 0; data.readUInt8(at) !== 0; at += 1 + data.readUInt8(at)) {
    labels.push(data.toString('latin1', at + 1, at + 1 + data.readUInt8(at)));
  }
  return labels.join('.');
}

function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length, 0);
  return Buffer.concat([length, message]);
}
