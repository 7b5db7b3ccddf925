/**
 * IssuerChain: decides which of several CAs makes a certificate: the first one that can. Owns nothing but its issuers'
 * order.
 */
import type { Log } from '../log.js';
import { IssueFailure } from './issue-failure.js';
import type { IssuedCertificate, IssueRequest, Issuer, RenewalWindow } from './issuer.js';

export class IssuerChain implements Issuer {
  readonly name: string;
  readonly #issuers: readonly [Issuer, ...Issuer[]];
  readonly #log: Pick<Log, 'warn'>;

  /** @param issuers in order of preference. */
  constructor(issuers: readonly [Issuer, ...Issuer[]], log: Pick<Log, 'warn'>) {
    this.name = issuers.map(({ name }) => name).join(',');
    this.#issuers = issuers;
    this.#log = log;
  }

  async issue(request: IssueRequest): Promise<IssuedCertificate> {
    const failures: unknown[] = [];
    for (const issuer of this.#issuers) {
      try {
        return await issuer.issue(request);
      } catch (error) {
        if (request.signal.aborted) throw error;
        this.#log.warn({ ca: issuer.name, hostname: request.hostnames[0], err: error }, 'certificate not issued');
        failures.push(error);
      }
    }
    throw joined(failures);
  }

  /** Each CA knows only what it issued. */
  async renewalWindow(chainPem: string, signal?: AbortSignal): Promise<RenewalWindow | undefined> {
    const answers = await Promise.allSettled(this.#issuers.map((issuer) => issuer.renewalWindow(chainPem, signal)));
    const window = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : [])).find(Boolean);
    const failed = answers.find((answer) => answer.status === 'rejected');
    if (window === undefined && failed) throw failed.reason;
    return window;
  }
}

/** The first CA's failure names the cure; the soonest one says when to come back. */
function joined(failures: readonly unknown[]): unknown {
  const [first, ...others] = failures;
  if (!(first instanceof IssueFailure) || others.length === 0) return first;
  const told = failures.map((failure) => (failure instanceof IssueFailure ? (failure.retryInMs ?? 0) : 0));
  const more = others.map((failure) => (failure instanceof Error ? failure.message : String(failure)));
  return new IssueFailure(first.reason, [first.message, ...more].join(' And: '), {
    cause: first,
    retryInMs: Math.min(...told) || undefined,
  });
}
