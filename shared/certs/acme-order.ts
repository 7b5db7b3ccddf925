/**
 * ACME order: decides how one order goes from "pending" to a certificate (RFC 8555 §7.4): prove each name that is not
 * proven yet, send the request, wait, fetch the chain.
 *
 * A challenge that the CA found wrong spoils its order for good, so `ChallengesFailed` says which ones, and AcmeIssuer may
 * try another order without them. One that could not even be presented spoils nothing: the next solver takes its place
 * within the order. What was presented is always taken back. Owns nothing.
 */
import { createHash } from 'node:crypto';
import { asTunnelError } from '../errors.js';
import { quoted } from '../printable.js';
import type { Secret } from '../secret.js';
import type { AcmeConnection, NewOrder, Polled } from './acme-connection.js';
import { makeCsr } from './acme-door.js';
import type { Authorization, OfferedChallenge, Order } from './acme-messages.js';
import { type Attempt, failureOf, IssueFailure } from './issue-failure.js';
import type { Challenge, ChallengeSolver, ChallengeType, IssueStep } from './issuer.js';
import { pause, untilAborted } from './time-limit.js';

/** Waiting between looks grows up to this. */
const MAX_POLL_MS = 10_000;
const POLL_GROWTH = 1.5;

export interface OrderPlan extends NewOrder {
  readonly keyPem: Secret;
  /** In order of preference. */
  readonly solvers: readonly ChallengeSolver[];
  /** Challenges that failed in an order before this one. */
  readonly spent: readonly SpentChallenge[];
  /** Where the CA is, for messages. */
  readonly ca: string;
  /** First wait between two looks. */
  readonly pollMs: number;
  readonly signal: AbortSignal;
  /** What is waited for changes. */
  readonly onStep?: ((step: IssueStep) => void) | undefined;
  /** A challenge could not be presented or taken back. */
  onSolverFailure(challenge: ChallengeType, hostname: string, error: unknown): void;
}

/** A challenge that the CA found wrong. */
export interface SpentChallenge {
  readonly hostname: string;
  readonly type: ChallengeType;
  readonly failure: IssueFailure;
}

/** The CA found challenges wrong; the order is lost. */
export class ChallengesFailed extends Error {
  readonly spent: readonly SpentChallenge[];

  constructor(spent: readonly SpentChallenge[]) {
    super('challenges failed');
    this.spent = spent;
  }
}

/** The failure of the first name with every way in which it was tried: to mend one of them is enough. Undefined for none. */
export function failureOfAll(spent: readonly SpentChallenge[]): IssueFailure | undefined {
  const [first] = spent;
  const others = spent.filter((one) => one !== first && one.hostname === first?.hostname);
  if (first === undefined || others.length === 0) return first?.failure;
  const more = others.map(({ failure }) => failure.message.replace(/^Cannot get a certificate for \S+ from \S+: /, ''));
  const { reason, message, retryInMs } = first.failure;
  const text = [message, ...more].join(' Another way failed too: ');
  return new IssueFailure(reason, `${text} One of them is enough.`, { cause: first.failure, retryInMs });
}

/**
 * The chain PEM of a new certificate.
 * @throws {ChallengesFailed | AcmeRefusal | IssueFailure}
 */
export async function runOrder(connection: AcmeConnection, plan: OrderPlan): Promise<string> {
  const { url, order } = await connection.newOrder(plan);
  refuseUnasked(order, plan);
  await proveAll(connection, plan, order.authorizations);
  const attempt = { hostnames: plan.hostnames, ca: plan.ca, caaIdentity: connection.directory.caaIdentities[0] };
  const ready = await poll(
    plan,
    () => connection.order(url),
    ({ status }) => status !== 'pending',
  );
  refuseInvalid(ready, attempt);
  // An order that was resumed by the CA may be past this point.
  if (ready.status === 'ready') await connection.finalize(order.finalize, await makeCsr(plan.keyPem, plan.hostnames));
  const done = await poll(
    plan,
    () => connection.order(url),
    ({ status }) => status === 'valid' || status === 'invalid',
  );
  refuseInvalid(done, attempt);
  if (done.certificate === undefined)
    throw failureOf(emptyProblem('the order is valid and names no certificate'), attempt);
  return connection.certificate(done.certificate);
}

async function proveAll(connection: AcmeConnection, plan: OrderPlan, urls: readonly string[]): Promise<void> {
  const results = await Promise.allSettled(urls.map((url) => prove(connection, plan, url)));
  const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
  const [first] = errors;
  if (first === undefined) return;
  const spent = errors.flatMap((error) => (error instanceof ChallengesFailed ? error.spent : []));
  // Anything but a wrong challenge would fail another order just the same.
  throw errors.find((error) => !(error instanceof ChallengesFailed)) ?? new ChallengesFailed(spent);
}

async function prove(connection: AcmeConnection, plan: OrderPlan, url: string): Promise<void> {
  const { value: authorization } = await connection.authorization(url);
  if (authorization.status === 'valid') return;
  const name = nameOf(authorization);
  // What the CA says becomes a name in a zone and an argument of somebody's program.
  if (!plan.hostnames.includes(name)) throw unasked(plan, `it wants proof for ${quoted(name)}`);
  let failure = noWay(authorization, plan);
  for (const { solver, offered } of waysFor(authorization, plan)) {
    const challenge = challengeOf(authorization, offered, connection);
    try {
      const problem = await present(solver, challenge, plan);
      if (problem === undefined) return await check(connection, plan, url, authorization, offered);
      failure = couldNotPresent(solver.type, nameOf(authorization), problem);
    } finally {
      await takeBack(solver, challenge, plan);
    }
  }
  throw failure;
}

/** Undefined when the CA may look, else why it may not. */
async function present(solver: ChallengeSolver, challenge: Challenge, plan: OrderPlan): Promise<Error | undefined> {
  plan.onStep?.(solver.type === 'dns-01' ? 'dns' : 'ca');
  try {
    await untilAborted(solver.present(challenge), plan.signal);
    return undefined;
  } catch (error) {
    if (plan.signal.aborted) throw error;
    plan.onSolverFailure(solver.type, challenge.hostname, error);
    return asTunnelError(error);
  } finally {
    plan.onStep?.('ca');
  }
}

async function takeBack(solver: ChallengeSolver, challenge: Challenge, plan: OrderPlan): Promise<void> {
  try {
    await solver.cleanup(challenge);
  } catch (error) {
    plan.onSolverFailure(solver.type, challenge.hostname, error);
  }
}

/** Lets the CA look, and waits for what it thinks. */
async function check(
  connection: AcmeConnection,
  plan: OrderPlan,
  url: string,
  authorization: Authorization,
  offered: OfferedChallenge,
): Promise<void> {
  const hostname = nameOf(authorization);
  await connection.respond(offered.url);
  const seen = await poll(plan, () => connection.authorization(url), isDecided);
  if (seen.status === 'valid') return;
  const type = offered.type as ChallengeType;
  const problem =
    seen.challenges.find(({ error }) => error !== undefined)?.error ?? emptyProblem(`status ${seen.status}`);
  const caaIdentity = connection.directory.caaIdentities[0];
  const failure = failureOf(problem, { hostnames: [hostname], ca: plan.ca, challenge: type, caaIdentity });
  throw new ChallengesFailed([{ hostname, type, failure }]);
}

/** RFC 8555 §8.2; step-ca (in Caddy) says what was wrong and leaves the challenge pending until it is asked again. */
function isDecided({ status, challenges }: Authorization): boolean {
  return status !== 'pending' || challenges.some((one) => one.status === 'pending' && one.error !== undefined);
}

function waysFor(authorization: Authorization, plan: OrderPlan) {
  const name = nameOf(authorization);
  return plan.solvers.flatMap((solver) => {
    const offered = authorization.challenges.find(({ type }) => type === solver.type);
    const isSpent = plan.spent.some((one) => one.hostname === name && one.type === solver.type);
    return offered !== undefined && !isSpent && solver.supports(name) ? [{ solver, offered }] : [];
  });
}

function challengeOf({ hostname }: Authorization, { token }: OfferedChallenge, connection: AcmeConnection): Challenge {
  const keyAuthorization = connection.keyAuthorization(token);
  return {
    hostname,
    token,
    keyAuthorization,
    dnsName: `_acme-challenge.${hostname}`,
    dnsValue: createHash('sha256').update(keyAuthorization).digest('base64url'),
  };
}

async function poll<Value>(
  { pollMs, signal }: OrderPlan,
  look: () => Promise<Polled<Value>>,
  isDone: (value: Value) => boolean,
): Promise<Value> {
  for (let waitMs = pollMs; ; waitMs = Math.min(waitMs * POLL_GROWTH, MAX_POLL_MS)) {
    const { value, retryAfterMs } = await look();
    if (isDone(value)) return value;
    await pause(Math.min(Math.max(waitMs, retryAfterMs ?? 0), MAX_POLL_MS), signal);
  }
}

/** One authorization for each name (RFC 8555 §7.1.3): more of them would only be more work. */
function refuseUnasked({ authorizations }: Order, plan: OrderPlan): void {
  if (authorizations.length <= plan.hostnames.length) return;
  throw unasked(plan, `it wants ${authorizations.length} proofs for ${plan.hostnames.length} names`);
}

function unasked({ ca, hostnames }: OrderPlan, state: string): IssueFailure {
  return new IssueFailure('ca-down', `Cannot get a certificate for ${hostnames.join(', ')} from ${ca}: ${state}.`);
}

function refuseInvalid(order: Order, attempt: Attempt): void {
  if (order.status !== 'invalid') return;
  throw failureOf(order.error ?? emptyProblem('the order is invalid'), attempt);
}

/** The name that was ordered: with its star again. */
function nameOf({ hostname, isWildcard }: Authorization): string {
  return isWildcard ? `*.${hostname}` : hostname;
}

function noWay(authorization: Authorization, plan: OrderPlan): IssueFailure {
  const { isWildcard, challenges, status } = authorization;
  const name = nameOf(authorization);
  const failed = failureOfAll(plan.spent.filter((one) => one.hostname === name));
  if (failed !== undefined) return failed;
  const offers = challenges.map(({ type }) => type).join(', ') || `nothing (${status})`;
  const here = plan.solvers.map(({ type }) => type).join(', ') || 'nothing';
  const cure = isWildcard ? 'A wildcard needs dns-01: configure it.' : 'Configure one that the CA offers.';
  const state = `it offers ${offers} and we can do ${here}`;
  return new IssueFailure('config', `Cannot prove ${name} to ${plan.ca}: ${state}. ${cure}`);
}

function couldNotPresent(type: ChallengeType, name: string, cause: Error): IssueFailure {
  return new IssueFailure('solver', `Cannot prove ${name} by ${type}. ${cause.message}`, { cause });
}

function emptyProblem(detail: string) {
  return { type: '', detail, subproblems: [] };
}
