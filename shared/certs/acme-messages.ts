/**
 * ACME messages: decides what we take from a CA's answers (RFC 8555 §7.1, RFC 9773, ACME profiles). Fields that we do not
 * use are ignored; a missing or wrong one that we do use is the CA's failure. Pure functions; own nothing.
 */
import { IssueFailure, type Problem, readProblem } from './issue-failure.js';

export interface Directory {
  readonly newOrder: string;
  readonly keyChange: string | undefined;
  /** RFC 9773; undefined when the CA has no ARI. */
  readonly renewalInfo: string | undefined;
  readonly termsOfService: string | undefined;
  /** Domains that a CAA record names to allow this CA. */
  readonly caaIdentities: readonly string[];
  /** Names of the profiles; undefined when the CA has none. */
  readonly profiles: readonly string[] | undefined;
}

export interface Order {
  readonly status: string;
  readonly authorizations: readonly string[];
  readonly finalize: string;
  readonly certificate: string | undefined;
  readonly error: Problem | undefined;
}

export interface Authorization {
  readonly status: string;
  /** Without the star of a wildcard. */
  readonly hostname: string;
  readonly isWildcard: boolean;
  readonly challenges: readonly OfferedChallenge[];
}

export interface OfferedChallenge {
  readonly type: string;
  readonly status: string;
  readonly url: string;
  readonly token: string;
  readonly error: Problem | undefined;
}

type Fields = Readonly<Record<string, unknown>>;
/** RFC 8555 §8: base64url; it becomes a part of a path and of a file name. */
const TOKEN = /^[A-Za-z0-9_-]{1,256}$/;
const MAX_ITEMS = 200;

/** @throws {IssueFailure} `ca-down` for anything else. */
export function readDirectory(data: unknown): Directory {
  const fields = fieldsOf(data);
  const meta = fieldsOf(fields.meta);
  return {
    newOrder: required(fields, 'newOrder'),
    keyChange: text(fields.keyChange),
    renewalInfo: text(fields.renewalInfo),
    termsOfService: text(meta.termsOfService),
    caaIdentities: texts(meta.caaIdentities),
    profiles: meta.profiles === undefined ? undefined : Object.keys(fieldsOf(meta.profiles)),
  };
}

/** @throws {IssueFailure} `ca-down` for anything else. */
export function readOrder(data: unknown): Order {
  const fields = fieldsOf(data);
  return {
    status: required(fields, 'status'),
    authorizations: texts(fields.authorizations),
    finalize: required(fields, 'finalize'),
    certificate: text(fields.certificate),
    error: problemIn(fields),
  };
}

/** @throws {IssueFailure} `ca-down` for anything else. */
export function readAuthorization(data: unknown): Authorization {
  const fields = fieldsOf(data);
  const challenges = Array.isArray(fields.challenges) ? fields.challenges.slice(0, MAX_ITEMS) : [];
  return {
    status: required(fields, 'status'),
    hostname: required(fieldsOf(fields.identifier), 'value'),
    isWildcard: fields.wildcard === true,
    challenges: challenges.map(fieldsOf).flatMap(readChallenge),
  };
}

/** Types that we do not know may look otherwise; they are left out. */
function readChallenge(fields: Fields): OfferedChallenge[] {
  const [type, url, token] = [text(fields.type), text(fields.url), text(fields.token)];
  if (type === undefined || url === undefined || token === undefined || !TOKEN.test(token)) return [];
  return [{ type, status: text(fields.status) ?? 'pending', url, token, error: problemIn(fields) }];
}

function problemIn(fields: Fields): Problem | undefined {
  return typeof fields.error === 'object' && fields.error !== null ? readProblem(fields.error) : undefined;
}

function fieldsOf(data: unknown): Fields {
  return typeof data === 'object' && data !== null ? (data as Fields) : {};
}

function required(fields: Fields, name: string): string {
  const value = text(fields[name]);
  if (value !== undefined) return value;
  throw new IssueFailure('ca-down', `Cannot use the CA's answer: it has no "${name}". Check the directory URL.`);
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.slice(0, MAX_ITEMS).filter((item) => typeof item === 'string') : [];
}
