/**
 * AcmeConnection: decides how one account talks to one CA: which requests exist, what they carry, and what of an answer
 * is taken (RFC 8555 §7). Signing and nonces are acme-client's, transport and reading are ours.
 *
 * Owns: its transport. Owned by: AcmeIssuer, for one order.
 */
import type { Secret } from '../secret.js';
import { type AcmeClient, type AcmeClientOptions, keyAuthorizationOf, makeAcmeClient } from './acme-door.js';
import {
  type Authorization,
  type Directory,
  type Order,
  readAuthorization,
  readDirectory,
  readOrder,
} from './acme-messages.js';
import { type AcmeAnswer, AcmeTransport, readRetryAfter, type TransportOptions } from './acme-transport.js';
import { AcmeRefusal, IssueFailure } from './issue-failure.js';

/** A CA may refuse a nonce for reasons of its own (restarts, many frontends): five times in a row, as acme-client
 * allows, does happen. */
const MAX_BAD_NONCES = 25;

/** What a CA gives to a customer so that accounts belong to it (RFC 8555 §7.3.4). */
export interface ExternalAccount {
  readonly kid: string;
  /** base64url. */
  readonly hmac: Secret;
}

export interface ConnectionOptions extends TransportOptions {
  readonly directoryUrl: string;
  readonly accountKeyPem: Secret;
  readonly accountUrl: string | undefined;
  readonly externalAccount?: ExternalAccount | undefined;
}

export interface NewOrder {
  readonly hostnames: readonly string[];
  readonly profile?: string | undefined;
  /** Certificate id (RFC 9773 §4.1). */
  readonly replaces?: string | undefined;
}

/** An answer that may change: what it says, and when to look again. */
export interface Polled<Value> {
  readonly value: Value;
  /** As the CA wished; undefined when it did not say. */
  readonly retryAfterMs: number | undefined;
}

/**
 * What the CA offers, and where.
 * @param url for the message alone.
 * @throws {AcmeRefusal} when the CA does not work; {IssueFailure} `config` when something else is at that address.
 */
export async function directoryFrom(url: string, ask: () => Promise<unknown>): Promise<Directory> {
  const wrong = (cause: unknown) => {
    const state = `there is no ACME directory at ${url}`;
    const cure = 'Check acme.directory_url';
    return new IssueFailure('config', `Cannot use the CA at ${new URL(url).host}: ${state}. ${cure}.`, { cause });
  };
  let data: unknown;
  try {
    data = await ask();
  } catch (error) {
    const isMissing = error instanceof AcmeRefusal && [404, 405, 410].includes(error.status);
    throw isMissing ? wrong(error) : error;
  }
  try {
    return readDirectory(data);
  } catch (error) {
    throw wrong(error);
  }
}

export class AcmeConnection {
  readonly directory: Directory;
  readonly #client: AcmeClient;
  readonly #transport: AcmeTransport;

  private constructor(client: AcmeClient, transport: AcmeTransport, directory: Directory) {
    this.#client = client;
    this.#transport = transport;
    this.directory = directory;
  }

  /** Reads the directory. @throws {AcmeRefusal | IssueFailure} */
  static async open(options: ConnectionOptions): Promise<AcmeConnection> {
    const client = await makeAcmeClient(clientOptionsOf(options));
    const transport = new AcmeTransport(options);
    client.http.request = (url, method, { data } = {}) =>
      transport.request(url, method, data === undefined ? undefined : JSON.stringify(data));
    client.http.maxBadNonceRetries = MAX_BAD_NONCES;
    try {
      return new AcmeConnection(
        client,
        transport,
        await directoryFrom(options.directoryUrl, () => client.http.getDirectory()),
      );
    } catch (error) {
      transport.close();
      throw error;
    }
  }

  close(): void {
    this.#transport.close();
  }

  /** Makes the account, or finds the one that this key has already; resolves with its URL. */
  async register(email: string | undefined): Promise<string> {
    const contact = email === undefined ? {} : { contact: [`mailto:${email}`] };
    return locationOf(await this.#client.api.createAccount({ termsOfServiceAgreed: true, ...contact }));
  }

  /** The URL of the account that this key has. @throws {AcmeRefusal} `accountDoesNotExist`. */
  async findAccount(): Promise<string> {
    return locationOf(await this.#client.api.createAccount({ onlyReturnExisting: true }));
  }

  async updateContact(email: string | undefined): Promise<void> {
    const contact = email === undefined ? [] : [`mailto:${email}`];
    await this.#client.api.apiRequest(this.#client.api.accountUrl ?? '', { contact }, [200]);
  }

  /** Gives the account another key (RFC 8555 §7.3.5); this connection is of no use afterwards. */
  async changeKey(nextKeyPem: Secret, directoryUrl: string): Promise<void> {
    const { keyChange } = this.directory;
    if (keyChange === undefined)
      throw new IssueFailure('account', 'Cannot change the account key: the CA does not offer it.');
    const next = await makeAcmeClient({ directoryUrl, accountKey: nextKeyPem.reveal() });
    const change = { account: this.#client.api.accountUrl, oldKey: this.#client.http.getJwk() };
    await this.#client.api.updateAccountKey(next.http.createSignedBody(keyChange, change));
  }

  /** Resolves with the order's URL and first state. */
  async newOrder({ hostnames, profile, replaces }: NewOrder): Promise<{ url: string; order: Order }> {
    const answer = await this.#client.api.createOrder({
      identifiers: hostnames.map((value) => ({ type: 'dns', value })),
      ...(profile === undefined ? {} : { profile }),
      ...(replaces === undefined ? {} : { replaces }),
    });
    return { url: locationOf(answer), order: readOrder(answer.data) };
  }

  async order(url: string): Promise<Polled<Order>> {
    return polled(await this.#read(url), readOrder);
  }

  async authorization(url: string): Promise<Polled<Authorization>> {
    return polled(await this.#read(url), readAuthorization);
  }

  /** Tells the CA to look at a challenge now. */
  async respond(challengeUrl: string): Promise<void> {
    await this.#client.api.apiRequest(challengeUrl, {}, [200]);
  }

  /** @param csr DER. */
  async finalize(url: string, csr: Buffer): Promise<Order> {
    const answer = await this.#client.api.apiRequest(url, { csr: csr.toString('base64url') }, [200]);
    return readOrder(answer.data);
  }

  /** The chain, PEM. */
  async certificate(url: string): Promise<string> {
    return String((await this.#read(url)).data);
  }

  keyAuthorization(token: string): string {
    return keyAuthorizationOf(token, this.#client.http.getJwk());
  }

  #read(url: string): Promise<AcmeAnswer> {
    return this.#client.api.apiRequest(url, null, [200]);
  }
}

function clientOptionsOf(options: ConnectionOptions): AcmeClientOptions {
  const { directoryUrl, accountKeyPem, accountUrl, externalAccount } = options;
  return {
    directoryUrl,
    accountKey: accountKeyPem.reveal(),
    ...(accountUrl === undefined ? {} : { accountUrl }),
    ...(externalAccount === undefined
      ? {}
      : { externalAccountBinding: { kid: externalAccount.kid, hmacKey: externalAccount.hmac.reveal() } }),
  };
}

function locationOf({ headers }: AcmeAnswer): string {
  if (headers.location !== undefined) return headers.location;
  throw new IssueFailure('ca-down', "Cannot use the CA's answer: it has no Location. Check the directory URL.");
}

function polled<Value>(answer: AcmeAnswer, read: (data: unknown) => Value): Polled<Value> {
  return { value: read(answer.data), retryAfterMs: readRetryAfter(answer.headers['retry-after']) };
}
