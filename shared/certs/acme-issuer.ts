/**
 * AcmeIssuer: decides how certificates come from an ACME CA (RFC 8555): which account asks, what is ordered, and which
 * challenge is tried when another one failed.
 *
 * The account is read from its store for every order, because another process may have replaced its key. Each order has
 * its own connection, ended by the caller's signal or after `orderTimeoutMs`. Owns: nothing between two orders. Owned by:
 * the one who keeps certificates.
 */

import { TunnelError } from '../errors.js';
import { readTextFile } from '../files/bounded-file.js';
import type { Log } from '../log.js';
import { type AccountStore, caNameOf, type StoredAccount } from './account-store.js';
import { AcmeConnection, directoryFrom, type ExternalAccount } from './acme-connection.js';
import { ChallengesFailed, failureOfAll, type OrderPlan, runOrder, type SpentChallenge } from './acme-order.js';
import { AcmeTransport } from './acme-transport.js';
import { AcmeRefusal, failureOf, IssueFailure } from './issue-failure.js';
import { checkedChain } from './issued-chain.js';
import type { ChallengeSolver, IssuedCertificate, IssueRequest, Issuer, RenewalWindow } from './issuer.js';
import { makePrivateKey } from './private-key.js';
import { askRenewalWindow, certificateIdOf } from './renewal-info.js';
import { withTimeLimit } from './time-limit.js';

/** Let's Encrypt by one word. */
const DIRECTORIES: ReadonlyMap<string, string> = new Map([
  ['production', 'https://acme-v02.api.letsencrypt.org/directory'],
  ['staging', 'https://acme-staging-v02.api.letsencrypt.org/directory'],
]);
const REQUEST_TIMEOUT_MS = 30_000;
const ORDER_TIMEOUT_MS = 300_000;
const POLL_MS = 250;

export interface AcmeIssuerOptions {
  /** `production` or `staging` for Let's Encrypt, else an https:// directory URL. */
  readonly directory: string;
  /** PEM file with the one root that signs the CA's own TLS certificate; the public roots when left out. */
  readonly caFile?: string | undefined;
  /** Where the CA writes to. */
  readonly email?: string | undefined;
  readonly externalAccount?: ExternalAccount | undefined;
  /** ACME profile, e.g. `shortlived`; the CA's default when left out. */
  readonly profile?: string | undefined;
  /** In order of preference. */
  readonly solvers: readonly ChallengeSolver[];
  readonly accounts: AccountStore;
  readonly log: Pick<Log, 'info' | 'warn'>;
  /** For each request; 30 s when left out. */
  readonly requestTimeoutMs?: number;
  /** For a whole order, slow validation included; 5 min when left out. */
  readonly orderTimeoutMs?: number;
  /** First wait between two looks at an order; 250 ms when left out. */
  readonly pollMs?: number;
}

/** The account as a CAA record can name it (RFC 8657). */
export interface AccountIdentity {
  readonly accountUrl: string;
  /** What the record's `issue` may say for this CA. */
  readonly caaIdentities: readonly string[];
}

/**
 * The directory behind a word or URL.
 * @throws {TunnelError} CONFIG_INVALID for anything else.
 */
export function directoryUrlOf(directory: string): string {
  const url = DIRECTORIES.get(directory) ?? directory;
  if (URL.canParse(url) && new URL(url).protocol === 'https:') return url;
  throw new TunnelError('CONFIG_INVALID', 'directory_url must be production, staging or an https:// address');
}

/** The word for a directory's URL; the URL itself where there is none. */
export function directoryNameOf(url: string): string {
  for (const [word, known] of DIRECTORIES) if (known === url) return word;
  return url;
}

export class AcmeIssuer implements Issuer {
  readonly name: string;
  readonly #directoryUrl: string;
  readonly #ca: string;
  readonly #options: AcmeIssuerOptions;

  /** @throws {TunnelError} CONFIG_INVALID for a directory that is none. */
  constructor(options: AcmeIssuerOptions) {
    this.#directoryUrl = directoryUrlOf(options.directory);
    this.#ca = new URL(this.#directoryUrl).host;
    this.name = caNameOf(this.#directoryUrl);
    this.#options = options;
  }

  async issue(request: IssueRequest): Promise<IssuedCertificate> {
    this.#refuseUnprovable(request.hostnames);
    return this.#withConnection(request.hostnames, request.signal, async (connection, signal) => {
      this.#refuseUnknownProfile(connection);
      const sent = await this.#order(connection, { ...request, signal });
      return { chainPem: checkedChain(sent, request), issuer: this.name };
    });
  }

  async renewalWindow(chainPem: string, signal?: AbortSignal): Promise<RenewalWindow | undefined> {
    const limitMs = 2 * (this.#options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS);
    return withTimeLimit(
      limitMs,
      () => this.#late(limitMs),
      signal,
      async (inner) => {
        const transport = new AcmeTransport(this.#transportOptions(inner));
        try {
          const ask = async () => (await transport.request(this.#directoryUrl, 'get')).data;
          const { renewalInfo } = await directoryFrom(this.#directoryUrl, ask);
          return renewalInfo === undefined ? undefined : await askRenewalWindow(transport, renewalInfo, chainPem);
        } catch (error) {
          throw this.#failure(error, []);
        } finally {
          transport.close();
        }
      },
    );
  }

  /** The account, registered if need be: a CAA record with its URL keeps everybody else from getting a certificate. */
  async identity(signal?: AbortSignal): Promise<AccountIdentity> {
    return this.#withConnection([], signal, async (connection) => {
      const { url = '' } = await this.#options.accounts.open(this.#directoryUrl);
      return { accountUrl: url, caaIdentities: connection.directory.caaIdentities };
    });
  }

  /** The account as it was registered; undefined before that. Asks nobody. */
  knownIdentity(): AccountIdentity | undefined {
    const { url, caaIdentities } = this.#options.accounts.registration(this.#directoryUrl);
    return url === undefined ? undefined : { accountUrl: url, caaIdentities };
  }

  /** Whether the CA has an account of ours. */
  get isRegistered(): boolean {
    return this.#options.accounts.isRegistered(this.#directoryUrl);
  }

  /** Gives the account a new key. A process that dies in the middle is put right at the next order. */
  async replaceAccountKey(signal?: AbortSignal): Promise<void> {
    const { accounts, log } = this.#options;
    const next = await makePrivateKey();
    await this.#withConnection([], signal, async (connection) => {
      accounts.saveNextKey(this.#directoryUrl, next);
      await connection.changeKey(next, this.#directoryUrl);
      accounts.promoteNextKey(this.#directoryUrl);
      log.info({ ca: this.name }, 'account key replaced');
    });
  }

  /** Orders until the certificate is there, or no challenge is left that has not failed. */
  async #order(connection: AcmeConnection, request: IssueRequest): Promise<string> {
    const spent: SpentChallenge[] = [];
    let replaces = connection.directory.renewalInfo === undefined ? undefined : certificateIdOf(request.replaces);
    for (;;) {
      try {
        return await runOrder(connection, this.#plan(request, spent, replaces));
      } catch (error) {
        if (replaces !== undefined && isAboutOrder(error)) replaces = undefined;
        else if (error instanceof ChallengesFailed && this.#hasWayLeft([...spent, ...error.spent])) {
          for (const one of error.spent) this.#logSpent(one);
          spent.push(...error.spent);
        } else throw error instanceof ChallengesFailed ? new ChallengesFailed([...spent, ...error.spent]) : error;
      }
    }
  }

  #plan(request: IssueRequest, spent: readonly SpentChallenge[], replaces: string | undefined): OrderPlan {
    const { solvers, profile, pollMs, log } = this.#options;
    return {
      ...request,
      replaces,
      profile,
      solvers,
      spent,
      ca: this.#ca,
      pollMs: pollMs ?? POLL_MS,
      onSolverFailure: (challenge, hostname, error) =>
        log.warn({ hostname, challenge, err: error }, 'challenge not handled'),
    };
  }

  /** Every hostname that failed has a solver that has not. */
  #hasWayLeft(spent: readonly SpentChallenge[]): boolean {
    return spent.every(({ hostname }) => {
      const types = new Set(spent.filter((one) => one.hostname === hostname).map(({ type }) => type));
      return this.#options.solvers.some((solver) => !types.has(solver.type) && solver.supports(hostname));
    });
  }

  #logSpent({ hostname, type, failure }: SpentChallenge): void {
    this.#options.log.warn({ hostname, challenge: type, err: failure }, 'challenge failed, trying another');
  }

  async #withConnection<Result>(
    hostnames: readonly string[],
    outer: AbortSignal | undefined,
    act: (connection: AcmeConnection, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const limitMs = this.#options.orderTimeoutMs ?? ORDER_TIMEOUT_MS;
    return withTimeLimit(
      limitMs,
      () => this.#late(limitMs),
      outer,
      async (signal) => {
        try {
          return await this.#connected(signal, (connection) => act(connection, signal));
        } catch (error) {
          throw signal.aborted ? signal.reason : this.#failure(error, hostnames);
        }
      },
    );
  }

  async #connected<Result>(signal: AbortSignal, act: (connection: AcmeConnection) => Promise<Result>): Promise<Result> {
    const { accounts } = this.#options;
    const connection = await this.#connect(signal);
    try {
      return await act(connection);
    } catch (error) {
      if (!isProblem(error, 'accountDoesNotExist')) throw error;
      // The CA has lost its accounts (a staging CA does): the key may register anew, once.
      accounts.forgetRegistration(this.#directoryUrl);
    } finally {
      connection.close();
    }
    const another = await this.#connect(signal);
    try {
      return await act(another);
    } finally {
      another.close();
    }
  }

  /** A connection whose account the CA knows. */
  async #connect(signal: AbortSignal): Promise<AcmeConnection> {
    const { accounts } = this.#options;
    let account = await accounts.open(this.#directoryUrl);
    if (account.nextKeyPem !== undefined) account = await this.#settleNextKey(signal, account);
    const connection = await this.#open(signal, account);
    try {
      await this.#register(connection, account);
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  async #register(connection: AcmeConnection, { url, contact }: StoredAccount): Promise<void> {
    const { email, accounts, log } = this.#options;
    if (url !== undefined && contact === email) return;
    if (url !== undefined) await connection.updateContact(email);
    const registered = url ?? (await connection.register(email));
    const { caaIdentities, termsOfService: terms } = connection.directory;
    accounts.saveRegistration(this.#directoryUrl, { url: registered, contact: email, caaIdentities });
    log.info({ ca: this.name, account: registered, terms }, 'account registered');
  }

  /** Finds out which key the CA took when a replacement was interrupted. */
  async #settleNextKey(signal: AbortSignal, account: StoredAccount): Promise<StoredAccount> {
    const { accounts } = this.#options;
    const keyPem = account.nextKeyPem ?? account.keyPem;
    const connection = await this.#open(signal, { ...account, keyPem, url: undefined });
    try {
      await connection.findAccount();
      accounts.promoteNextKey(this.#directoryUrl);
    } catch (error) {
      if (!isProblem(error, 'accountDoesNotExist')) throw error;
      accounts.dropNextKey(this.#directoryUrl);
    } finally {
      connection.close();
    }
    return accounts.open(this.#directoryUrl);
  }

  #open(signal: AbortSignal, account: StoredAccount): Promise<AcmeConnection> {
    return AcmeConnection.open({
      ...this.#transportOptions(signal),
      directoryUrl: this.#directoryUrl,
      accountKeyPem: account.keyPem,
      accountUrl: account.url,
      externalAccount: this.#options.externalAccount,
    });
  }

  #transportOptions(signal: AbortSignal) {
    const { caFile, requestTimeoutMs } = this.#options;
    return { caPem: readCa(caFile), timeoutMs: requestTimeoutMs ?? REQUEST_TIMEOUT_MS, signal };
  }

  /** Before the CA hears of it: what it counts are orders. */
  #refuseUnprovable(hostnames: readonly string[]): void {
    const { solvers } = this.#options;
    const name = hostnames.find((hostname) => !solvers.some((solver) => solver.supports(hostname)));
    if (name === undefined) return;
    const here = solvers.map(({ type }) => type).join(', ') || 'nothing';
    const cure = name.startsWith('*') ? 'A wildcard needs dns-01: set up acme.dns.' : 'Allow another challenge.';
    throw new IssueFailure('config', `Cannot prove ${name} to ${this.#ca}: we can do ${here}. ${cure}`);
  }

  #refuseUnknownProfile({ directory }: AcmeConnection): void {
    const { profile } = this.#options;
    if (profile === undefined || directory.profiles?.includes(profile)) return;
    const offers = directory.profiles?.join(', ') || 'none';
    const cure = 'Name a profile that the CA offers, or none.';
    throw new IssueFailure('config', `Cannot use profile ${profile} at ${this.#ca}: it offers ${offers}. ${cure}`);
  }

  #failure(error: unknown, hostnames: readonly string[]): unknown {
    if (error instanceof ChallengesFailed) return failureOfAll(error.spent) ?? error;
    if (error instanceof AcmeRefusal) return failureOf(error, { hostnames, ca: this.#ca });
    if (error instanceof TunnelError) return error;
    return new IssueFailure('order', `Cannot get a certificate from ${this.#ca}: ${String(error)}.`, { cause: error });
  }

  #late(limitMs: number): IssueFailure {
    return new IssueFailure('ca-down', `Cannot get a certificate from ${this.#ca}: it took longer than ${limitMs} ms.`);
  }
}

/** A refusal of the order itself, which `replaces` may have caused (RFC 9773 §5). */
function isAboutOrder(error: unknown): boolean {
  return ['alreadyReplaced', 'malformed', 'unauthorized'].some((type) => isProblem(error, type));
}

function isProblem(error: unknown, type: string): boolean {
  return error instanceof AcmeRefusal && error.problem.type === type;
}

function readCa(caFile: string | undefined): string | undefined {
  return caFile === undefined ? undefined : readTextFile(caFile, undefined, 'ca_file').text;
}
