/**
 * TXT propagation: decides when a DNS-01 record is where the CA will look: when every authoritative server of its zone
 * that answers has it. Caches in between are not asked, because the CA does not ask them. Owns nothing.
 */
import { Resolver } from 'node:dns/promises';
import { IssueFailure } from './issue-failure.js';
import { pause, withTimeLimit } from './time-limit.js';

const TIMEOUT_MS = 120_000;
const LOOK_MS = 2_000;
const QUERY_MS = 3_000;
const MAX_CNAMES = 8;

export interface PropagationOptions {
  /** `host:port` of servers to ask instead of the authoritative ones; IP addresses. */
  readonly servers?: readonly string[];
  /** 120 s when left out. */
  readonly timeoutMs?: number;
  /** Wait between two looks; 2 s when left out. */
  readonly lookMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * Resolves once the record is there.
 * @throws {IssueFailure} `solver` when it is not in time, with what was there instead.
 */
export async function waitForTxt(name: string, value: string, options: PropagationOptions = {}): Promise<void> {
  const { timeoutMs = TIMEOUT_MS, lookMs = LOOK_MS } = options;
  let state = 'nobody answered';
  const late = () => {
    const cure = 'Check the credentials and the zone of the DNS provider';
    return new IssueFailure('solver', `TXT ${name} is not there, ${state}. ${cure}.`);
  };
  await withTimeLimit(timeoutMs, late, options.signal, async (signal) => {
    for (;;) {
      const { owner, servers } = await placeOf(name, options.servers);
      state = await stateOf(owner, value, servers);
      if (state === '') return;
      await pause(lookMs, signal);
    }
  });
}

/** Where a name's CNAME chain ends (a delegated `_acme-challenge`); itself without one. */
export async function endOfCnames(name: string, servers?: readonly string[]): Promise<string> {
  let owner = name;
  for (let count = 0; count < MAX_CNAMES; count += 1) {
    const [target] = await answersOf(resolverFor(servers).resolveCname(owner));
    if (target === undefined) return owner;
    owner = target;
  }
  return owner;
}

async function placeOf(name: string, servers: readonly string[] | undefined) {
  if (servers) return { owner: name, servers };
  const owner = await endOfCnames(name);
  return { owner, servers: await authoritativeServers(owner) };
}

/** Addresses of the servers of the zone that the name is in; none when the zone cannot be found. */
async function authoritativeServers(name: string): Promise<string[]> {
  const labels = name.split('.');
  for (let first = 0; first < labels.length - 1; first += 1) {
    const names = await answersOf(resolverFor(undefined).resolveNs(labels.slice(first).join('.')));
    if (names.length > 0) return (await Promise.all(names.map(addressesOf))).flat();
  }
  return [];
}

async function addressesOf(server: string): Promise<string[]> {
  const resolver = resolverFor(undefined);
  const [four, six] = await Promise.all([answersOf(resolver.resolve4(server)), answersOf(resolver.resolve6(server))]);
  return [...four, ...six.map((address) => `[${address}]`)];
}

/** Empty when all servers that answer have the value, else what is wrong. */
async function stateOf(owner: string, value: string, servers: readonly string[]): Promise<string> {
  const seen = await Promise.all(servers.map((server) => textsAt(server, owner)));
  const answered = seen.flatMap((texts, index) => (texts === undefined ? [] : [{ texts, server: servers[index] }]));
  const behind = answered.find(({ texts }) => !texts.includes(value));
  if (answered.length === 0) return servers.length === 0 ? 'its zone has no servers' : 'no server of its zone answers';
  return behind === undefined ? '' : `${behind.server} has ${behind.texts.length} other records`;
}

/** Undefined when the server does not answer; a name that does not exist has no texts. */
async function textsAt(server: string, owner: string): Promise<string[] | undefined> {
  try {
    return (await resolverFor([server]).resolveTxt(owner)).map((pieces) => pieces.join(''));
  } catch (error) {
    return isAnswer(error) ? [] : undefined;
  }
}

async function answersOf<Item>(query: Promise<Item[]>): Promise<Item[]> {
  try {
    return await query;
  } catch {
    return [];
  }
}

function isAnswer(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  return code === 'ENOTFOUND' || code === 'ENODATA';
}

function resolverFor(servers: readonly string[] | undefined): Resolver {
  const resolver = new Resolver({ timeout: QUERY_MS, tries: 1 });
  if (servers) resolver.setServers([...servers]);
  return resolver;
}
