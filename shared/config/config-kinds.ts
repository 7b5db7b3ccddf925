/**
 * Kinds of config values: decides, for each kind, which YAML scalars are one, what they mean, and how the operator is
 * told what was expected. Pure but for `pemFile`, which reads. Used by: Fields and the readers of both programs.
 */
import { resolve } from 'node:path';
import { type Address, formatAddress, hostOf, parseDialAddress, parseListenAddress, parseNetwork } from '../address.js';
import { TunnelError } from '../errors.js';
import { readTextFile } from '../files/bounded-file.js';
import { normaliseHostname, normalisePattern } from '../hostname.js';
import { quoted } from '../printable.js';
import { type ConfigScalar, inWords } from './config-tree.js';
import { nearestWord } from './nearest-word.js';
import { formatBytes, formatDuration, parseBytes, parseDuration } from './units.js';

export interface ValueKind<T> {
  /** Completes "KEY must be …". */
  readonly expected: string;
  /** Stands in for a value that was refused, so that reading can go on; never leaves the reader. */
  readonly placeholder: T;
  /** @throws {TunnelError} CONFIG_INVALID whose message starts with `name` and is complete. */
  parse(scalar: ConfigScalar, name: string): T;
  /** The value as YAML text. */
  show(value: T): string;
  /** How "no value" is written, for kinds that have a word for it. */
  readonly absent?: string;
}

export interface Range {
  readonly min: number;
  readonly max: number;
}

/** setTimeout fires at once above 2³¹−1 ms, so no duration of a timer may be longer than this. */
const MAX_TIMER_MS = 24 * 86_400_000;
const MAX_PEM_BYTES = 1 << 20;

/** Text of any content that `parse` accepts; plain numbers count as text, so that `name: 123` needs no quotes. */
export function textKind<T>(kind: {
  readonly expected: string;
  readonly placeholder: T;
  parse(text: string, name: string): T;
  show(value: T): string;
}): ValueKind<T> {
  return {
    ...kind,
    parse(scalar, name) {
      if (typeof scalar.value === 'boolean' || scalar.value === null) throw wrongValue(name, kind.expected, scalar);
      return kind.parse(scalar.text, name);
    },
  };
}

/** Text, optionally of one form. */
export function text(expected = 'text', form = /^/): ValueKind<string> {
  return textKind({
    expected,
    placeholder: '',
    parse(written, name) {
      if (form.test(written)) return written;
      throw new TunnelError('CONFIG_INVALID', `${name} must be ${expected}, got ${quoted(written)}`);
    },
    show: (value) => value,
  });
}

/** A whole number in a range. */
export function integer({ min, max }: Range): ValueKind<number> {
  const expected = `a whole number from ${min} to ${max}`;
  return {
    expected,
    placeholder: min,
    parse(scalar, name) {
      const { value } = scalar;
      if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value;
      throw wrongValue(name, expected, scalar);
    },
    show: String,
  };
}

export const boolean: ValueKind<boolean> = {
  expected: 'true or false',
  placeholder: false,
  parse(scalar, name) {
    if (typeof scalar.value === 'boolean') return scalar.value;
    throw wrongValue(name, 'true or false', scalar);
  },
  show: String,
};

/** A duration in milliseconds, 1 ms to 24 days unless the range is narrower. */
export function duration({ min = 1, max = MAX_TIMER_MS }: Partial<Range> = {}): ValueKind<number> {
  return quantity('a duration', { min, max }, parseDuration, formatDuration);
}

/** A size in bytes. */
export function bytes(range: Range): ValueKind<number> {
  return quantity('a size', range, parseBytes, formatBytes);
}

/** One of a few words. `planned` words are refused as such, so that nobody looks for a typing mistake. */
export function choice<const T extends string>(
  words: readonly [T, ...T[]],
  planned: readonly string[] = [],
): ValueKind<T> {
  const expected = oneOf(words);
  return {
    expected,
    placeholder: words[0],
    parse(scalar, name) {
      const word = words.find((candidate) => candidate === scalar.value);
      if (word !== undefined) return word;
      if (planned.includes(scalar.text)) throw notAvailable(`${name} ${scalar.text}`, expected);
      const near = typeof scalar.value === 'string' ? nearestWord(scalar.value, words) : undefined;
      throw wrongValue(name, expected, scalar, near === undefined ? '' : `. Did you mean ${near}?`);
    },
    show: (value) => value,
  };
}

/** The word `off` for undefined, or a value of `kind`. */
export function orOff<T>(kind: ValueKind<T>): ValueKind<T | undefined> {
  const expected = `${kind.expected}, or off`;
  return {
    expected,
    placeholder: kind.placeholder,
    absent: 'off',
    parse(scalar, name) {
      if (scalar.value === 'off') return undefined;
      if (scalar.value === null || typeof scalar.value === 'boolean') throw wrongValue(name, expected, scalar);
      return orWriteOff(() => kind.parse(scalar, name));
    },
    show: (value) => (value === undefined ? 'off' : kind.show(value)),
  };
}

/** A value, or the word `auto` for one that the program finds. */
export function orAuto<T>(kind: ValueKind<T>): ValueKind<T | 'auto'> {
  const expected = `${kind.expected}, or auto`;
  return {
    expected,
    placeholder: kind.placeholder,
    parse(scalar, name) {
      if (scalar.value === 'auto') return 'auto';
      if (typeof scalar.value !== 'number') throw wrongValue(name, expected, scalar);
      return kind.parse(scalar, name);
    },
    show: (value) => (value === 'auto' ? 'auto' : kind.show(value)),
  };
}

/** One exact public hostname, in stored form. */
export const hostname = textKind({
  expected: 'a hostname such as app.example.com',
  placeholder: '',
  parse: normaliseHostname,
  show: (value) => value,
});

/** A public hostname or a `*.` wildcard, in stored form. */
export const hostnamePattern = textKind({
  expected: 'a hostname, or a wildcard such as *.home.example.com',
  placeholder: '',
  parse: normalisePattern,
  show: (value) => value,
});

const NO_ADDRESS: Address = { host: '', port: 0 };

/** An address to listen on. */
export const listenAddress = textKind({
  expected: 'an address such as 0.0.0.0:443, [::]:443 or :443',
  placeholder: NO_ADDRESS,
  parse: parseListenAddress,
  show: formatAddress,
});

/** An IP address without brackets, or a local name. */
export const host = textKind({
  expected: 'an IP address or a host name',
  placeholder: '',
  parse(written, name) {
    const stored = hostOf(written);
    if (stored !== undefined) return stored;
    throw new TunnelError('CONFIG_INVALID', `${name} must be an IP address or a host name, got ${quoted(written)}`);
  },
  show: (value) => value,
});

/** An address to connect to. */
export const dialAddress = textKind({
  expected: 'an address with a port, such as 203.0.113.7:443 or [2001:db8::1]:443',
  placeholder: NO_ADDRESS,
  parse: parseDialAddress,
  show: formatAddress,
});

/** An IP address or a network, as text that `networkMatcher` takes. */
export const network = textKind({
  expected: 'an IP address or a network such as 10.0.0.0/8 or fd00::/8',
  placeholder: '',
  parse: parseNetwork,
  show: (value) => value,
});

/** A path, made absolute from `folder`. */
export function path(folder: string): ValueKind<string> {
  return textKind({
    expected: 'a path',
    placeholder: '',
    parse(written, name) {
      if (written === '' || written.includes('\0')) throw new TunnelError('CONFIG_INVALID', `${name} must be a path`);
      return resolve(folder, written);
    },
    show: (value) => value,
  });
}

/** The text of a PEM file with at least one certificate; its path counts from `folder`. */
export function certificateFile(folder: string): ValueKind<string> {
  const place = path(folder);
  return { ...place, parse: (scalar, name) => readCertificates(place.parse(scalar, name), name) };
}

/**
 * The text of a PEM file with at least one certificate.
 * @throws {TunnelError} CONFIG_INVALID
 */
export function readCertificates(file: string, name: string): string {
  const pem = readTextFile(file, MAX_PEM_BYTES, name).text;
  if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem;
  throw new TunnelError('CONFIG_INVALID', `${name} must be a PEM file with a certificate, but ${file} has none`);
}

/** The refusal of a choice that is planned, but not in this version. */
export function notAvailable(what: string, instead: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', `${what} is not available in this version; use ${instead}`);
}

/** "KEY must be …, got …". */
export function wrongValue(name: string, expected: string, scalar: ConfigScalar, cure = ''): TunnelError {
  return new TunnelError('CONFIG_INVALID', `${name} must be ${expected}, got ${inWords(scalar)}${cure}`);
}

function orWriteOff<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    throw new TunnelError('CONFIG_INVALID', `${error.message}. Or write off`, { cause: error });
  }
}

function quantity(
  what: string,
  { min, max }: Range,
  parse: (text: string, name: string) => number,
  format: (value: number) => string,
): ValueKind<number> {
  const expected = `${what} from ${format(min)} to ${format(max)}`;
  return textKind({
    expected,
    placeholder: min,
    parse(written, name) {
      const value = parse(written, name);
      if (value >= min && value <= max) return value;
      throw new TunnelError('CONFIG_INVALID', `${name} must be ${expected}, got ${quoted(written)}`);
    },
    show: format,
  });
}

function oneOf(words: readonly string[]): string {
  return words.length === 1 ? `${words[0]}` : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}
