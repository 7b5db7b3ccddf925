/**
 * AccountStore: decides where the accounts at CAs are kept.
 *
 *     <folder>/<ca>/account-key.pem        0600, made before the CA hears of it
 *     <folder>/<ca>/account-key.next.pem   0600, only while the key is being replaced
 *     <folder>/<ca>/account.json           directory URL, account URL, contact, names for CAA records
 *
 * Files appear whole and stay readable to people. Of several processes that make an account at once the first one's key
 * wins, and the others register the same account with it. Owns: the folder. Owned by: the one who makes AcmeIssuers.
 */
import { createPrivateKey } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { TunnelError } from '../errors.js';
import {
  checkPrivate,
  createFileExclusive,
  isCode,
  makePrivateFolder,
  removeFile,
  writeFileAtomic,
} from '../files/atomic-file.js';
import { readFileBytes } from '../files/bounded-file.js';
import { parseJsonObject } from '../json-object.js';
import { Secret } from '../secret.js';
import { makePrivateKey } from './private-key.js';

export interface StoredAccount extends Registration {
  /** PKCS#8 PEM. */
  readonly keyPem: Secret;
  /** The key that a replacement wanted to change to, when that was interrupted. */
  readonly nextKeyPem: Secret | undefined;
}

export interface Registration {
  /** What the CA knows the account by; undefined before it was registered. */
  readonly url: string | undefined;
  /** E-mail address that the CA was told. */
  readonly contact: string | undefined;
  /** What a CAA record may call the CA. */
  readonly caaIdentities: readonly string[];
}

/** A CA's directory URL as the name of a folder: `acme-v02.api.letsencrypt.org-directory`. */
export function caNameOf(directoryUrl: string): string {
  const { host, pathname } = new URL(directoryUrl);
  const name = `${host}${pathname}`.replaceAll(/[^A-Za-z0-9._]+/g, '-').replace(/-+$/, '');
  return name.slice(0, 120);
}

export class AccountStore {
  readonly #folder: string;

  /** @param folder made when something is stored. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * The account at this CA; its key is made when there is none.
   * @throws {TunnelError} CONFIG_INVALID when its files cannot be used.
   */
  async open(directoryUrl: string): Promise<StoredAccount> {
    const keyFile = this.#file(directoryUrl, 'account-key.pem');
    makePrivateFolder(path.dirname(keyFile));
    if (!fs.existsSync(keyFile)) createFileExclusive(keyFile, (await makePrivateKey()).reveal());
    const keyPem = readKey(keyFile);
    if (keyPem === undefined) throw unusable(keyFile, 'it is gone');
    const nextKeyPem = readKey(this.#file(directoryUrl, 'account-key.next.pem'));
    return { keyPem, nextKeyPem, ...this.registration(directoryUrl) };
  }

  /** What the CA calls the account. A torn or foreign file costs one request: the CA tells it again for the key. */
  registration(directoryUrl: string): Registration {
    const { url, contact, caaIdentities, ...rest } = readJson(this.#file(directoryUrl, 'account.json'));
    if (rest.directoryUrl !== directoryUrl || typeof url !== 'string') {
      return { url: undefined, contact: undefined, caaIdentities: [] };
    }
    const identities = Array.isArray(caaIdentities) ? caaIdentities.filter((name) => typeof name === 'string') : [];
    return { url, contact: typeof contact === 'string' ? contact : undefined, caaIdentities: identities };
  }

  /** Whether this CA has told us what it calls our account. */
  isRegistered(directoryUrl: string): boolean {
    return this.registration(directoryUrl).url !== undefined;
  }

  /** Keeps what the CA calls the account. */
  saveRegistration(directoryUrl: string, registration: Registration & { readonly url: string }): void {
    const text = `${JSON.stringify({ directoryUrl, ...registration }, undefined, 2)}\n`;
    writeFileAtomic(this.#file(directoryUrl, 'account.json'), text);
  }

  /** Forgets what the CA called the account, not its key. */
  forgetRegistration(directoryUrl: string): void {
    removeFile(this.#file(directoryUrl, 'account.json'));
  }

  /** First half of a replacement: from now on either key may be the account's. */
  saveNextKey(directoryUrl: string, keyPem: Secret): void {
    writeFileAtomic(this.#file(directoryUrl, 'account-key.next.pem'), keyPem.reveal());
  }

  /** Second half: the CA has taken the next key. */
  promoteNextKey(directoryUrl: string): void {
    const nextFile = this.#file(directoryUrl, 'account-key.next.pem');
    const next = readKey(nextFile);
    if (next === undefined) return;
    writeFileAtomic(this.#file(directoryUrl, 'account-key.pem'), next.reveal());
    removeFile(nextFile);
  }

  /** The CA has not taken the next key. */
  dropNextKey(directoryUrl: string): void {
    removeFile(this.#file(directoryUrl, 'account-key.next.pem'));
  }

  #file(directoryUrl: string, name: string): string {
    return path.join(this.#folder, caNameOf(directoryUrl), name);
  }
}

function readKey(file: string): Secret | undefined {
  const state = fs.statSync(file, { throwIfNoEntry: false });
  if (!state) return undefined;
  checkPrivate(file, state.mode);
  try {
    const pem = readFileBytes(file).toString();
    createPrivateKey(pem);
    return new Secret(pem);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined;
    throw unusable(file, isCode(error, 'EACCES') ? 'this user may not read it' : 'it holds no private key');
  }
}

function readJson(file: string): Readonly<Record<string, unknown>> {
  try {
    return parseJsonObject(readFileBytes(file).toString());
  } catch {
    return {};
  }
}

function unusable(file: string, state: string): TunnelError {
  const cure = `Restore ${path.dirname(file)} from a backup, or remove it to get a new account`;
  return new TunnelError('CONFIG_INVALID', `Cannot use account key ${file}: ${state}. ${cure}.`);
}
