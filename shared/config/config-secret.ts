/**
 * Secrets in config files: decides where the text of a secret may come from (the file itself, `${ENV}`, a file of its
 * own) and who may read that file. No message ever holds a part of a secret. Owns nothing.
 */
import { dirname, resolve } from 'node:path';
import { TunnelError } from '../errors.js';
import { readTextFile } from '../files/bounded-file.js';
import { Secret } from '../secret.js';

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

const MAX_SECRET_BYTES = 64 * 1024;
/** Permission bits by which somebody other than the owner may do something with a file. */
const OTHERS = 0o077;
/** With or without its closing brace, so that a forgotten one is seen. */
const VARIABLE = /\$\{([^}]*\}?)/g;
const NAME_AND_BRACE = /^([A-Za-z_][A-Za-z0-9_]*)\}$/;

/** Where a secret was named. */
export interface SecretPlace {
  /** Absolute path of the config file. */
  readonly path: string;
  /** Absolute folder from which relative paths count. */
  readonly folder: string;
  /** Permission bits of the config file; undefined when its text did not come from a file. */
  readonly mode: number | undefined;
  readonly env: Environment;
}

/**
 * The secret that `text` in a config file stands for: each `${NAME}` replaced by that environment variable. Without any,
 * the config file holds the secret itself, and then only its owner may be able to read it.
 * @param name The key, for the message.
 * @throws {TunnelError} CONFIG_INVALID; names a variable that is missing or empty.
 */
export function inlineSecret(text: string, name: string, { path, mode, env }: SecretPlace): Secret {
  const isItself = !text.includes('${');
  const exposure = isItself && mode !== undefined ? exposureOf(path, mode, env) : undefined;
  if (exposure !== undefined) throw new TunnelError('CONFIG_INVALID', `${name} ${exposure}`);
  return secretOf(
    text.replace(VARIABLE, (_, inner: string) => variableOf(inner, env, name)),
    name,
  );
}

/**
 * The secret in the file that a config file names.
 * @param name The key, for the message.
 * @throws {TunnelError} CONFIG_INVALID
 */
export function secretInFile(text: string, name: string, { folder, env }: SecretPlace): Secret {
  return readSecretFile(resolve(folder, text), env, name);
}

/**
 * The secret in a file, without the white space around it. The file must be readable by its owner alone; a credential
 * of systemd is exempt, because its folder is closed and its mode only mirrors an access list.
 * @throws {TunnelError} CONFIG_INVALID
 */
export function readSecretFile(path: string, env: Environment, name: string): Secret {
  const file = readTextFile(path, MAX_SECRET_BYTES, name);
  const exposure = exposureOf(path, file.mode, env);
  if (exposure !== undefined) throw new TunnelError('CONFIG_INVALID', `${name} ${exposure}`);
  return secretOf(file.text.trim(), name);
}

/** What is wrong with the permissions of a file with secrets; undefined when only its owner can read it. */
function exposureOf(path: string, mode: number, env: Environment): string | undefined {
  if (process.platform === 'win32' || (mode & OTHERS) === 0 || isSystemdCredential(path, env)) return undefined;
  return `must be in a file that only its owner can read; its mode is ${mode.toString(8).padStart(4, '0')}. Do: chmod 600 ${path}`;
}

function isSystemdCredential(path: string, env: Environment): boolean {
  const folder = env.CREDENTIALS_DIRECTORY;
  return folder !== undefined && folder !== '' && dirname(path) === resolve(folder);
}

function variableOf(nameAndBrace: string, env: Environment, name: string): string {
  const variable = NAME_AND_BRACE.exec(nameAndBrace)?.[1];
  if (variable === undefined) {
    throw new TunnelError('CONFIG_INVALID', `${name} must name an environment variable between \${ and }`);
  }
  const value = Object.hasOwn(env, variable) ? env[variable] : undefined;
  if (value === undefined || value === '') {
    throw new TunnelError('CONFIG_INVALID', `${name} needs the environment variable ${variable}, which is not set`);
  }
  return value;
}

function secretOf(text: string, name: string): Secret {
  if (text === '') throw new TunnelError('CONFIG_INVALID', `${name} is empty`);
  if (/\p{Cc}/u.test(text)) throw new TunnelError('CONFIG_INVALID', `${name} must be one line of text`);
  return new Secret(text);
}
