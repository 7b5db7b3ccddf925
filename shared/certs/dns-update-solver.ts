/**
 * DnsUpdateSolver: decides how DNS-01 records get into a zone by dynamic update (RFC 2136), signed with a shared key
 * (TSIG, HMAC-SHA256): BIND, Knot, PowerDNS, Windows and several providers speak it.
 *
 * When `_acme-challenge.NAME` is a CNAME, the record is written where it points to: a zone of its own for challenges, so
 * that the key cannot change anything else. Owns: the places of the records that stand. Owned by: the one who makes
 * AcmeIssuers.
 */
import { randomInt } from 'node:crypto';
import { type DnsServer, exchange } from './dns-exchange.js';
import { CLASS, type DnsMessage, readMessage, TYPE, writeQuery, writeText, writeUpdate } from './dns-message.js';
import { type DnsSigningKey, problemOfSignature, signMessage } from './dns-signature.js';
import { IssueFailure } from './issue-failure.js';
import type { Challenge, ChallengeSolver } from './issuer.js';
import { endOfCnames, type PropagationOptions, waitForTxt } from './txt-propagation.js';

const TIMEOUT_MS = 10_000;
const TTL_SECONDS = 60;
const FLAG_RESPONSE = 0x8000;
const RCODES = [
  'NOERROR',
  'FORMERR',
  'SERVFAIL',
  'NXDOMAIN',
  'NOTIMP',
  'REFUSED',
  'YXDOMAIN',
  'YXRRSET',
  'NXRRSET',
  'NOTAUTH',
  'NOTZONE',
];

export interface DnsUpdateOptions {
  /** The zone's primary server. */
  readonly server: DnsServer;
  readonly key: DnsSigningKey;
  /** The zone that is changed; asked of the server when left out. */
  readonly zone?: string;
  /** For each message; 10 s when left out. */
  readonly timeoutMs?: number;
  readonly propagation?: PropagationOptions;
}

/** Where a record stands. */
interface Place {
  readonly owner: string;
  readonly zone: string;
}

export class DnsUpdateSolver implements ChallengeSolver {
  readonly type = 'dns-01';
  readonly #options: DnsUpdateOptions;
  readonly #places = new Map<string, Place>();

  constructor(options: DnsUpdateOptions) {
    this.#options = options;
  }

  /** Everything, wildcards too. */
  supports(): boolean {
    return true;
  }

  async present({ dnsName, dnsValue }: Challenge): Promise<void> {
    const owner = await endOfCnames(dnsName, this.#options.propagation?.servers);
    const place = { owner, zone: this.#options.zone ?? (await this.#zoneOf(owner)) };
    this.#places.set(`${dnsName} ${dnsValue}`, place);
    await this.#update(place, CLASS.IN, dnsValue);
    await waitForTxt(owner, dnsValue, this.#options.propagation);
  }

  /** Removes this value only: another challenge may stand at the same name. */
  async cleanup({ dnsName, dnsValue }: Challenge): Promise<void> {
    const place = this.#places.get(`${dnsName} ${dnsValue}`);
    if (place === undefined) return;
    this.#places.delete(`${dnsName} ${dnsValue}`);
    await this.#update(place, CLASS.NONE, dnsValue);
  }

  async #update({ owner, zone }: Place, recordClass: number, value: string): Promise<void> {
    const ttl = recordClass === CLASS.NONE ? 0 : TTL_SECONDS;
    const change = { name: owner, type: TYPE.TXT, class: recordClass, ttl, data: writeText(value) };
    const { key } = this.#options;
    await this.#attempt(`update ${zone}`, async () => {
      const { bytes, mac } = signMessage(writeUpdate(newId(), zone, [change]), key, nowSeconds());
      const answer = await this.#ask(bytes);
      const problem = problemOfSignature(answer, key, nowSeconds(), mac);
      const { rcode } = readMessage(answer);
      // A server that does not take the key cannot sign with it, and says why in its signature's place.
      if (rcode !== 0) throw new Error([RCODES[rcode] ?? `code ${rcode}`, problem].filter(Boolean).join(', '));
      if (problem !== undefined) throw new Error(`the answer cannot be trusted: ${problem}`);
    });
  }

  /** The zone is the owner of the SOA record in the answer, wherever that stands. */
  #zoneOf(name: string): Promise<string> {
    return this.#attempt(`find the zone of ${name}`, async () => {
      const query = writeQuery(newId(), { name, type: TYPE.SOA, class: CLASS.IN });
      const { answers, authority } = readMessage(await this.#ask(query));
      const soa = [...answers, ...authority].find(({ type }) => type === TYPE.SOA);
      if (soa === undefined) throw new Error('the server has no zone for it');
      return soa.name;
    });
  }

  async #ask(message: Buffer): Promise<Buffer> {
    const answer = await exchange(this.#options.server, message, this.#options.timeoutMs ?? TIMEOUT_MS);
    if (!isAnswerTo(readMessage(answer), message)) throw new Error('the answer belongs to another question');
    return answer;
  }

  async #attempt<Result>(what: string, act: () => Promise<Result>): Promise<Result> {
    try {
      return await act();
    } catch (cause) {
      const { host, port } = this.#options.server;
      const state = cause instanceof Error ? cause.message : String(cause);
      const cure = 'Check the key, its name and what the server lets it change.';
      throw new IssueFailure('solver', `Cannot ${what} at DNS server ${host}:${port}: ${state}. ${cure}`, { cause });
    }
  }
}

function isAnswerTo({ id, flags }: DnsMessage, message: Buffer): boolean {
  return id === message.readUInt16BE(0) && (flags & FLAG_RESPONSE) !== 0;
}

function newId(): number {
  return randomInt(0x10000);
}

function nowSeconds(): number {
  return Math.floor(Date.now() / 1_000);
}
