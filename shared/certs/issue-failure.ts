/**
 * Issue failures: decides what is said, and when to come back, when a CA gives no certificate.
 *
 * A CA answers with a problem document (RFC 8555 §6.7). Its type decides the reason; its detail, which holds what the CA
 * saw (an address, a status, a DNS error), goes into the message unchanged but printable. Pure functions; own nothing.
 */
import { TunnelError } from '../errors.js';
import { printable, shortened } from '../printable.js';
import type { ChallengeType } from './issuer.js';

/**
 * What kind of failure it was: `unreachable` the CA could not connect, `wrong-answer` somebody else or something else
 * answered it, `dns` the name does not resolve, `caa` a CAA record forbids, `rate-limited`, `account` the CA does not take
 * our account, `refused` the CA does not issue for the name, `ca-down` the CA does not work, `solver` we could not prepare
 * the challenge, `config` an option is wrong, `order` anything else.
 */
export type FailureReason =
  | 'unreachable'
  | 'wrong-answer'
  | 'dns'
  | 'caa'
  | 'rate-limited'
  | 'account'
  | 'refused'
  | 'ca-down'
  | 'solver'
  | 'config'
  | 'order';

/** CERTIFICATE_FAILED with a reason that programs can tell apart. */
export class IssueFailure extends TunnelError {
  readonly reason: FailureReason;

  constructor(
    reason: FailureReason,
    message: string,
    options: { readonly cause?: unknown; readonly retryInMs?: number | undefined } = {},
  ) {
    const { cause, retryInMs } = options;
    super('CERTIFICATE_FAILED', message, { cause, ...(retryInMs === undefined ? {} : { retryInMs }) });
    this.reason = reason;
  }
}

/** RFC 8555 §6.7, RFC 7807. */
export interface Problem {
  /** Without `urn:ietf:params:acme:error:`; empty when the answer named none. */
  readonly type: string;
  readonly detail: string;
  readonly subproblems: readonly Problem[];
}

/** An answer of the CA that is no success. */
export class AcmeRefusal extends Error {
  override readonly name = 'AcmeRefusal';
  readonly status: number;
  readonly problem: Problem;
  readonly retryAfterMs: number | undefined;

  constructor(status: number, problem: Problem, retryAfterMs: number | undefined) {
    super(`${problem.type || `status ${status}`}: ${problem.detail}`);
    this.status = status;
    this.problem = problem;
    this.retryAfterMs = retryAfterMs;
  }
}

/** What was tried when the CA refused. */
export interface Attempt {
  readonly hostnames: readonly string[];
  /** Where the CA is, e.g. `acme-v02.api.letsencrypt.org`. */
  readonly ca: string;
  readonly challenge?: ChallengeType;
  /** What a CAA record must say for this CA. */
  readonly caaIdentity?: string | undefined;
}

const PREFIX = 'urn:ietf:params:acme:error:';
const MAX_DETAIL = 400;
const MAX_SUBPROBLEMS = 20;
/** For a CA that limits and does not say until when. */
const RATE_LIMIT_PAUSE_MS = 3_600_000;

const PORTS: Record<ChallengeType, string> = {
  'tls-alpn-01': 'port 443',
  'http-01': 'port 80',
  'dns-01': 'its DNS servers',
};

const REASONS: ReadonlyMap<string, FailureReason> = new Map([
  ['rateLimited', 'rate-limited'],
  ['connection', 'unreachable'],
  ['tls', 'wrong-answer'],
  ['incorrectResponse', 'wrong-answer'],
  ['unauthorized', 'wrong-answer'],
  ['dns', 'dns'],
  ['caa', 'caa'],
  ['rejectedIdentifier', 'refused'],
  ['unsupportedIdentifier', 'refused'],
  ['accountDoesNotExist', 'account'],
  ['externalAccountRequired', 'account'],
  ['invalidContact', 'account'],
  ['unsupportedContact', 'account'],
  ['userActionRequired', 'account'],
  ['invalidProfile', 'config'],
  ['serverInternal', 'ca-down'],
]);

/** CAs differ in the type that they give to a connection that they could not make. */
const NO_CONNECTION = /failed to connect|connection refused|timeout during connect|no route to host/i;

/** The problem in an answer's body, whatever that is. */
export function readProblem(body: unknown): Problem {
  const { subproblems } = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  const parts = Array.isArray(subproblems) ? subproblems.slice(0, MAX_SUBPROBLEMS) : [];
  // Subproblems have none themselves (RFC 8555 §6.7.1), however deep a CA nests them.
  return { ...readLoneProblem(body), subproblems: parts.map(readLoneProblem) };
}

function readLoneProblem(body: unknown): Problem {
  const { type, detail } = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  return {
    type: typeof type === 'string' && type.startsWith(PREFIX) ? type.slice(PREFIX.length) : '',
    detail: shown(typeof detail === 'string' ? detail : typeof body === 'string' ? body : ''),
    subproblems: [],
  };
}

/** The failure behind a refusal or behind an invalid challenge's problem. */
export function failureOf(cause: AcmeRefusal | Problem, attempt: Attempt): IssueFailure {
  const refusal = cause instanceof AcmeRefusal ? cause : undefined;
  const problem = mostTelling(cause instanceof AcmeRefusal ? cause.problem : cause);
  const reason = reasonOf(problem, refusal, attempt);
  const names = attempt.hostnames.join(', ') || 'this account';
  const saw =
    problem.detail === '' ? (refusal ? `status ${refusal.status}` : 'no reason given') : `‘${problem.detail}’`;
  const retryInMs = refusal?.retryAfterMs ?? (reason === 'rate-limited' ? RATE_LIMIT_PAUSE_MS : undefined);
  const message = `Cannot get a certificate for ${names} from ${attempt.ca}: ${stateOf(reason, attempt)}: ${saw}.`;
  return new IssueFailure(reason, `${message} ${cureOf(reason, attempt, retryInMs)}`, { cause: refusal, retryInMs });
}

/** A compound problem says nothing itself. */
function mostTelling(problem: Problem): Problem {
  const [first] = problem.subproblems;
  return first !== undefined && (problem.type === 'compound' || problem.type === 'malformed') ? first : problem;
}

function reasonOf(problem: Problem, refusal: AcmeRefusal | undefined, attempt: Attempt): FailureReason {
  // `unauthorized` is about the account, unless a challenge was looked at.
  if (problem.type === 'unauthorized' && attempt.challenge === undefined) return 'account';
  const known = REASONS.get(problem.type);
  if (known === 'wrong-answer' && NO_CONNECTION.test(problem.detail)) return 'unreachable';
  if (known !== undefined) return known;
  if (refusal?.status === 429) return 'rate-limited';
  return (refusal?.status ?? 0) >= 500 ? 'ca-down' : 'order';
}

function stateOf(reason: FailureReason, { challenge }: Attempt): string {
  const way = challenge === undefined ? '' : ` (${challenge})`;
  switch (reason) {
    case 'unreachable':
      return `the CA could not reach ${challenge === undefined ? 'it' : PORTS[challenge]}${way}. It saw`;
    case 'wrong-answer':
      return `the CA got another answer than ours${way}. It saw`;
    case 'dns':
      return `the CA could not resolve the name${way}. It saw`;
    case 'caa':
      return 'a CAA record forbids it. The CA saw';
    case 'rate-limited':
      return 'the CA limits how much it issues. It says';
    case 'account':
      return 'the CA does not take our account. It says';
    case 'ca-down':
      return 'the CA does not work now. It says';
    default:
      return `the CA refused${way}. It says`;
  }
}

function cureOf(reason: FailureReason, attempt: Attempt, retryInMs: number | undefined): string {
  const name = attempt.hostnames[0] ?? 'the name';
  switch (reason) {
    case 'unreachable':
      return attempt.challenge === 'dns-01'
        ? `Check that the DNS servers of ${name} answer from the internet.`
        : `Open ${attempt.challenge === undefined ? 'the port' : PORTS[attempt.challenge]} in the firewall and check that the A and AAAA records of ${name} are the address of the relay.`;
    case 'wrong-answer':
      return attempt.challenge === 'dns-01'
        ? `Check that the TXT record of _acme-challenge.${name} is written in the zone that the internet sees.`
        : `Check that the A and AAAA records of ${name} are the address of the relay, and that no proxy stands before it.`;
    case 'dns':
      return attempt.challenge === 'dns-01'
        ? `Check that the zone of _acme-challenge.${name} is delegated, and its DNS servers (DNSSEC too).`
        : `Create an A or AAAA record for ${name} that points to the relay, and check its DNS servers (DNSSEC too).`;
    case 'caa':
      return `Allow the CA: add the CAA record 0 issue "${attempt.caaIdentity ?? attempt.ca}" for ${name}, or remove the others.`;
    case 'rate-limited':
      return `Wait: it is not asked again for ${Math.ceil((retryInMs ?? 0) / 60_000)} min. Use staging while you try things out.`;
    case 'account':
      return 'Check the e-mail address and the external account binding (kid, hmac) that the CA gave you.';
    case 'refused':
      return 'Use another hostname, or another CA.';
    case 'config':
      return 'Name a profile that the CA offers, or none.';
    case 'ca-down':
      return 'Nothing to do: it is tried again. A second CA would have stepped in.';
    default:
      return 'It is tried again.';
  }
}

function shown(detail: string): string {
  return printable(shortened(detail.trim(), MAX_DETAIL)).replace(/\.$/, '');
}
