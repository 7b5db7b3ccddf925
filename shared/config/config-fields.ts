/**
 * Fields: decides how one section of a config file is read: each key asked for once, typed, with its default and limits.
 *
 * A reader asks for every key that it knows, in any state of the file; what is wrong becomes a problem with its line, and
 * a placeholder lets the reader go on, so that an operator sees everything at once. When a reader is done, the keys that
 * nobody asked for are problems too. The same readers, run over an empty file, list every option there is.
 *
 * Owns: nothing. Owned by: the reading of one file (config-file.ts).
 */

import { TunnelError } from '../errors.js';
import { Secret } from '../secret.js';
import type { Range, ValueKind } from './config-kinds.js';
import * as kinds from './config-kinds.js';
import { Problems } from './config-problems.js';
import { inlineSecret, type SecretPlace, secretInFile } from './config-secret.js';
import {
  type ConfigEntry,
  type ConfigNode,
  type ConfigSection,
  emptySection,
  inWords,
  isEmpty,
} from './config-tree.js';
import { nearestWord } from './nearest-word.js';

/** One option that a reader asks for. */
export interface ConfigOption {
  /** `limits.head_timeout`, `tunnels[].origin`. */
  readonly path: string;
  /** The default as YAML text; undefined when there is none, or when it follows from other options. */
  readonly default: string | undefined;
}

/** What all sections of one file share. */
export interface ReadingContext extends SecretPlace {
  readonly problems: Problems;
  /** Present while options are listed instead of read. */
  readonly options: ConfigOption[] | undefined;
}

/** Without `default` the key is required; `default: undefined` makes it optional. */
export interface Default<D> {
  readonly default?: D;
}

export interface SecretOptions<D> extends Default<D> {
  /** Takes the place of what the file says, which is then not even looked at. */
  readonly override?: Secret | undefined;
}

/** Key names that can safely stand in a message; anything else might be a secret that lost its key. */
const PLAIN_KEY = /^[A-Za-z0-9_.-]{1,64}$/;

export class Fields {
  readonly #context: ReadingContext;
  readonly #section: ConfigSection;
  readonly #path: string;
  readonly #entries = new Map<string, ConfigEntry>();
  readonly #asked = new Set<string>();
  readonly #refused = new Set<string>();
  readonly #missing = new Map<string, string>();

  private constructor(context: ReadingContext, section: ConfigSection, path = '') {
    this.#context = context;
    this.#section = section;
    this.#path = path;
    for (const entry of section.entries) this.#addEntry(entry);
  }

  /**
   * Reads one section whole. What is wrong is in `context.problems` afterwards, and then the value means nothing.
   * @param path Name of the section in messages; empty for the whole file.
   */
  static read<T>(context: ReadingContext, node: ConfigNode, path: string, read: (fields: Fields) => T): T {
    const section = node.kind === 'section' ? node : emptySection(node.line);
    const isWrong = node.kind !== 'section' && !isEmpty(node);
    // Nothing else in it matters then, but the reader needs values to go on with.
    const fields = new Fields(isWrong ? { ...context, problems: new Problems('') } : context, section, path);
    const value = read(fields);
    fields.#done();
    if (!isWrong) return value;
    const name = path === '' ? 'the file' : path;
    const isText = node.kind === 'scalar';
    context.problems.add(
      node.line,
      `${name} must be a section of "key: value" lines, got ${isText ? 'text' : 'a list'}`,
      path,
    );
    return value;
  }

  /** Absolute folder from which relative paths count. */
  get folder(): string {
    return this.#context.folder;
  }

  string<const D = string>(key: string, options: Default<D> & { expected?: string; form?: RegExp } = {}): string | D {
    return this.value(key, kinds.text(options.expected, options.form), options);
  }

  integer<const D = number>(key: string, options: Range & Default<D>): number | D {
    return this.value(key, kinds.integer(options), options);
  }

  boolean<const D = boolean>(key: string, options: Default<D> = {}): boolean | D {
    return this.value(key, kinds.boolean, options);
  }

  /** Milliseconds. */
  duration<const D = number>(key: string, options: Partial<Range> & Default<D> = {}): number | D {
    return this.value(key, kinds.duration(options), options);
  }

  /** Bytes. */
  bytes<const D = number>(key: string, options: Range & Default<D>): number | D {
    return this.value(key, kinds.bytes(options), options);
  }

  choice<const T extends string, const D = T>(
    key: string,
    words: readonly [T, ...T[]],
    options: Default<D> = {},
  ): T | D {
    return this.value(key, kinds.choice(words), options);
  }

  /** One exact public hostname, in stored form. */
  hostname<const D = string>(key: string, options: Default<D> = {}): string | D {
    return this.value(key, kinds.hostname, options);
  }

  /** An absolute path; relative ones count from the file's folder. */
  path<const D = string>(key: string, options: Default<D> = {}): string | D {
    return this.value(key, kinds.path(this.folder), options);
  }

  /** A value of any kind. */
  value<T, const D = T>(key: string, kind: ValueKind<T>, options: Default<D> = {}): T | D {
    const entry = this.#ask(key, defaultText(kind, options));
    if (entry) return this.#parse(key, entry.node, this.#nameOf(key), kind);
    if ('default' in options) return options.default as D;
    this.refuse(key, `is missing; it must be ${kind.expected}`);
    return kind.placeholder;
  }

  /** A list of values of one kind; empty when the key is missing. */
  values<T>(key: string, kind: ValueKind<T>): T[] {
    const items = this.#items(key, '[]');
    return items.map((item, index) => this.#parse(key, item, `${this.#nameOf(key)}[${index}]`, kind));
  }

  /** A section; a missing one is read as an empty one, so that its defaults apply. */
  section<T>(key: string, read: (fields: Fields) => T): T {
    const node = this.#take(key)?.node;
    return Fields.read(this.#context, node ?? emptySection(this.#section.line), this.#nameOf(key), read);
  }

  /** A list of sections; empty when the key is missing. */
  list<T>(key: string, read: (fields: Fields) => T): T[] {
    const name = this.#nameOf(key);
    if (this.#context.options) return [Fields.read(this.#context, emptySection(1), `${name}[]`, read)];
    return this.#items(key, undefined).map((item, i) => Fields.read(this.#context, item, `${name}[${i}]`, read));
  }

  /** A secret under `key` (where `${NAME}` takes environment variables), or in a file that `KEY_file` names. */
  secret<const D = Secret>(key: string, options: SecretOptions<D> = {}): Secret | D {
    const fileKey = `${key}_file`;
    const inline = this.#ask(key, undefined);
    const inFile = this.#ask(fileKey, undefined);
    if (options.override) return options.override;
    if (inline && inFile) this.refuse(fileKey, `stands beside ${key}. Keep one of them`);
    else if (inFile) return this.#secretOf(fileKey, inFile.node, secretInFile);
    else if (inline) return this.#secretOf(key, inline.node, inlineSecret);
    else if ('default' in options) return options.default as D;
    else this.refuse(key, `is missing; add it, or ${fileKey} with a file's name`);
    return new Secret('');
  }

  /** Whether the file has this key. */
  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Adds the problem "KEY `problem`" for a rule that binds several options; nothing when the key has one already. */
  refuse(key: string, problem: string): void {
    if (this.#refused.has(key)) return;
    const entry = this.#entries.get(key);
    if (entry) this.#add(key, entry.line, `${this.#nameOf(key)} ${problem}`);
    else if (!this.#missing.has(key)) this.#missing.set(key, `${this.#nameOf(key)} ${problem}`);
  }

  /** Every key that nobody asked for is a problem; a key that is missing only because of such a mistake is not. */
  #done(): void {
    for (const { key, line } of this.#entries.values()) {
      if (this.#asked.has(key)) continue;
      const near = nearestWord(key, this.#asked);
      const cure = near === undefined ? `Known keys: ${[...this.#asked].join(', ')}` : `Did you mean ${near}?`;
      this.#add(near ?? key, line, `${this.#printedKey(key)} is not a known key. ${cure}`);
      if (near !== undefined) this.#missing.delete(near);
    }
    for (const [key, message] of this.#missing) {
      this.#context.problems.add(this.#section.line, message, this.#nameOf(key));
    }
  }

  #addEntry(entry: ConfigEntry): void {
    const first = this.#entries.get(entry.key);
    const name = this.#printedKey(entry.key);
    if (first === undefined) this.#entries.set(entry.key, entry);
    else this.#add(entry.key, entry.line, `${name} stands here and on line ${first.line}. Keep one`);
  }

  #ask(key: string, defaultValue: string | undefined): ConfigEntry | undefined {
    this.#context.options?.push({ path: this.#nameOf(key), default: defaultValue });
    return this.#take(key);
  }

  #take(key: string): ConfigEntry | undefined {
    this.#asked.add(key);
    return this.#entries.get(key);
  }

  #items(key: string, defaultValue: string | undefined): readonly ConfigNode[] {
    const node = this.#ask(key, defaultValue)?.node;
    if (node === undefined || isEmpty(node)) return [];
    if (node.kind === 'list') return node.items;
    this.#add(key, node.line, `${this.#nameOf(key)} must be a list, got ${inWords(node)}`);
    return [];
  }

  #parse<T>(key: string, node: ConfigNode, name: string, kind: ValueKind<T>): T {
    if (node.kind !== 'scalar') {
      this.#add(key, node.line, `${name} must be ${kind.expected}, got ${inWords(node)}`);
      return kind.placeholder;
    }
    return this.#attempt(key, node.line, kind.placeholder, () => kind.parse(node, name));
  }

  #secretOf(key: string, node: ConfigNode, read: typeof inlineSecret): Secret {
    const name = this.#nameOf(key);
    const isText = node.kind === 'scalar' && (typeof node.value === 'string' || typeof node.value === 'number');
    if (isText) return this.#attempt(key, node.line, new Secret(''), () => read(node.text, name, this.#context));
    this.#add(key, node.line, `${name} must be text`);
    return new Secret('');
  }

  #attempt<T>(key: string, line: number, placeholder: T, act: () => T): T {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      this.#add(key, line, error.message);
      return placeholder;
    }
  }

  #add(key: string, line: number, message: string): void {
    this.#refused.add(key);
    this.#context.problems.add(line, message, this.#nameOf(key));
  }

  #nameOf(key: string): string {
    return this.#path === '' ? key : `${this.#path}.${key}`;
  }

  #printedKey(key: string): string {
    return PLAIN_KEY.test(key) ? this.#nameOf(key) : 'this';
  }
}

function defaultText<T, D>(kind: ValueKind<T>, options: Default<D>): string | undefined {
  if (!('default' in options)) return undefined;
  return options.default === undefined ? kind.absent : kind.show(options.default as unknown as T);
}
