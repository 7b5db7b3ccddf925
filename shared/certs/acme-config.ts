/**
 * ACME config: decides the options of the section `acme` of relay.yaml and tunnel.yaml: which CAs are asked, who we are for
 * them, and how we prove a hostname. Owns nothing. Used by: relay-config.ts, tunnel-config.ts.
 */
import { isIP } from 'node:net';
import { type Address, formatAddress, parseDialAddress } from '../address.js';
import type { Default, Fields } from '../config/config-fields.js';
import { choice, dialAddress, textKind } from '../config/config-kinds.js';
import { TunnelError } from '../errors.js';
import { normalisePattern } from '../hostname.js';
import { quoted } from '../printable.js';
import type { ExternalAccount } from './acme-connection.js';
import { directoryNameOf, directoryUrlOf } from './acme-issuer.js';
import type { DnsSigningKey } from './dns-signature.js';
import type { ChallengeType } from './issuer.js';
import type { KeyType } from './private-key.js';

export interface AcmeConfig {
  /** In order of preference: the second one is asked when the first one fails. */
  readonly authorities: readonly [AcmeAuthority, ...AcmeAuthority[]];
  readonly keyType: KeyType;
  /** In the order in which they are tried. */
  readonly challenges: readonly ChallengeType[];
  /** How dns-01 records come into the zone; there when `challenges` has dns-01. */
  readonly dns: AcmeDns | undefined;
  /** Wildcards that are used instead of a certificate for each name below them. */
  readonly wildcards: readonly string[];
  /** Names that may have a certificate at a time. */
  readonly maxHostnames: number;
}

export interface AcmeAuthority {
  readonly directoryUrl: string;
  readonly email: string | undefined;
  /** PEM file of the root that signs the CA's own certificate. */
  readonly caFile: string | undefined;
  readonly profile: string | undefined;
  readonly externalAccount: ExternalAccount | undefined;
}

/** A program that adds and removes records, or dynamic updates (RFC 2136). */
export type AcmeDns = AcmeDnsProgram | AcmeDnsUpdate;

export interface AcmeDnsProgram extends AcmeDnsLook {
  readonly kind: 'program';
  readonly command: string;
}

export interface AcmeDnsUpdate extends AcmeDnsLook {
  readonly kind: 'update';
  /** The zone's primary server. */
  readonly server: Address;
  readonly key: DnsSigningKey;
  /** Found out by asking when undefined. */
  readonly zone: string | undefined;
}

interface AcmeDnsLook {
  /** `host:port` of the servers that must have the record before the CA is told to look; the zone's own when empty. */
  readonly resolvers: readonly string[];
}

const MAX_HOSTNAMES = 10_000;
const DEFAULT_MAX_HOSTNAMES = 1_000;

/** What can be proven where a program stands. */
export interface AcmePlace {
  /** Tried in this order when the file names none; dns-01, where it is set up, comes before them. */
  readonly challenges: readonly Exclude<ChallengeType, 'dns-01'>[];
}

const DIRECTORY = 'production, staging (both Let’s Encrypt) or the https:// address of a directory';

const directory = textKind({
  expected: DIRECTORY,
  placeholder: '',
  parse(text, name) {
    try {
      return directoryUrlOf(text);
    } catch (cause) {
      throw new TunnelError('CONFIG_INVALID', `${name} must be ${DIRECTORY}, got ${quoted(text)}`, { cause });
    }
  },
  show: directoryNameOf,
});

const wildcard = textKind({
  expected: 'a wildcard such as *.example.com',
  placeholder: '',
  parse(text, name) {
    const pattern = normalisePattern(text, name);
    if (pattern.startsWith('*.')) return pattern;
    throw new TunnelError('CONFIG_INVALID', `${name} must be a wildcard such as *.example.com, got ${quoted(text)}`);
  },
  show: (value) => value,
});

const resolver = textKind({
  expected: 'an IP address with a port, such as 192.0.2.53:53',
  placeholder: '',
  parse(text, name) {
    const address = parseDialAddress(text, name);
    if (isIP(address.host) !== 0) return formatAddress(address);
    throw new TunnelError('CONFIG_INVALID', `${name} must be an IP address with a port, got ${quoted(text)}`);
  },
  show: (value) => value,
});

/** Asks for every option of the section. */
export function readAcme(fields: Fields, place: AcmePlace): AcmeConfig {
  const first = readAuthority(fields, { default: directoryUrlOf('production') });
  const fallbacks = fields.list('fallbacks', (section) => readAuthority(section, {}));
  const dns = fields.section('dns', readDns);
  const wildcards = fields.values('wildcards', wildcard);
  if (wildcards.length > 0 && dns === undefined)
    fields.refuse('wildcards', 'needs dns: no other challenge proves them');
  return {
    authorities: [first, ...fallbacks],
    keyType: fields.choice('key_type', ['p256', 'rsa2048', 'rsa4096'], { default: 'p256' }),
    challenges: readChallenges(fields, place, dns),
    dns,
    wildcards,
    maxHostnames: fields.integer('max_hostnames', { min: 1, max: MAX_HOSTNAMES, default: DEFAULT_MAX_HOSTNAMES }),
  };
}

function readAuthority(fields: Fields, preset: Default<string>): AcmeAuthority {
  return {
    directoryUrl: fields.value('directory_url', directory, preset),
    email: fields.string('email', { expected: 'an e-mail address', form: /^[^\s@]+@[^\s@]+$/, default: undefined }),
    caFile: fields.path('ca_file', { default: undefined }),
    profile: fields.string('profile', { expected: 'a word', form: /^[\w.-]{1,64}$/, default: undefined }),
    externalAccount: fields.section('external_account', readExternalAccount),
  };
}

function readExternalAccount(fields: Fields): ExternalAccount | undefined {
  const kid = fields.string('kid', { expected: 'the key id that the CA gave you', form: /^\S+$/, default: undefined });
  const hmac = fields.secret('hmac', { default: undefined });
  if (kid === undefined && hmac !== undefined) fields.refuse('kid', 'is missing beside hmac');
  if (kid !== undefined && hmac === undefined) fields.refuse('hmac', 'is missing beside kid');
  return kid === undefined || hmac === undefined ? undefined : { kid, hmac };
}

function readDns(fields: Fields): AcmeDns | undefined {
  const command = fields.string('command', { expected: 'a program', form: /^\S/, default: undefined });
  const server = fields.value('server', dialAddress, { default: undefined });
  const keyName = fields.string('key_name', { expected: 'the name of a TSIG key', form: /^\S+$/, default: undefined });
  const secret = fields.secret('key', { default: undefined });
  const zone = fields.hostname('zone', { default: undefined });
  const resolvers = fields.values('resolvers', resolver);
  if (command !== undefined) {
    for (const key of ['server', 'key_name', 'key', 'key_file', 'zone']) {
      if (fields.has(key)) fields.refuse(key, 'stands beside command. Keep one way to write records');
    }
    return { kind: 'program', command, resolvers };
  }
  if (server === undefined) {
    if (keyName !== undefined || secret !== undefined) fields.refuse('server', 'is missing: who takes the updates?');
    return undefined;
  }
  if (keyName === undefined) fields.refuse('key_name', 'is missing beside server');
  if (secret === undefined) fields.refuse('key', 'is missing beside server; add it, or key_file with a file’s name');
  if (keyName === undefined || secret === undefined) return undefined;
  return { kind: 'update', server, key: { name: keyName, secret }, zone, resolvers };
}

function readChallenges(fields: Fields, place: AcmePlace, dns: AcmeDns | undefined): readonly ChallengeType[] {
  const possible: readonly [ChallengeType, ...ChallengeType[]] = ['dns-01', ...place.challenges];
  const named = fields.values('challenges', choice(possible));
  if (named.includes('dns-01') && dns === undefined)
    fields.refuse('challenges', 'has dns-01, which needs the section dns');
  if (named.length > 0) return named;
  return dns === undefined ? place.challenges : possible;
}
