/**
 * Config files: decides which YAML is a config file, and how one is read from end to end. The only door of `yaml`.
 *
 * At most 1 MiB, one document, YAML 1.2, bounded depth; no aliases (a few lines of them unfold to gigabytes), no tags.
 * YAML that cannot be parsed is reported without its text, which may hold a secret.
 *
 * Owns nothing. Used by: relay-config.ts, tunnel-config.ts.
 */
import { dirname, resolve } from 'node:path';
import {
  Composer,
  type CST,
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  Parser,
  type Scalar,
} from 'yaml';
import { type ConfigOption, Fields } from './config/config-fields.js';
import { Problems } from './config/config-problems.js';
import type { Environment } from './config/config-secret.js';
import { type ConfigEntry, type ConfigNode, type ConfigScalar, emptySection } from './config/config-tree.js';
import { readTextFile } from './files/bounded-file.js';

/** What a program reads from one file: asks for every option that it knows. */
export type ConfigReader<T> = (root: Fields) => T;

export interface ParseOptions {
  /** Where `${NAME}` in secrets is looked up; the process environment when left out. */
  readonly env?: Environment | undefined;
  /** Permission bits of the file that the text came from. */
  readonly mode?: number | undefined;
}

const MAX_FILE_BYTES = 1 << 20;
/** Ours are four levels deep. The composer is recursive: without a limit, brackets alone could end the process. */
const MAX_DEPTH = 32;
const MAX_SYNTAX_PROBLEMS = 5;

/** Syntax problems by the parser's code; its own messages may quote the file. */
const SYNTAX: ReadonlyMap<string, string> = new Map([
  ['TAB_AS_INDENT', 'a tab is no indentation. Use spaces'],
  ['MISSING_CHAR', 'a closing quote or bracket, or a colon, is missing here or above'],
  ['BAD_INDENT', 'this line is not indented like its neighbours'],
  ['BLOCK_AS_IMPLICIT_KEY', 'this line is indented too far, or has a second colon. Put quotes around the value'],
  ['MULTILINE_IMPLICIT_KEY', 'this line is not "key: value". Put a space after the colon'],
  ['BAD_SCALAR_START', 'a value cannot start with this character. Put quotes around it'],
  ['BAD_DQ_ESCAPE', 'unknown escape in double quotes. Use single quotes'],
  ['TAG_RESOLVE_FAILED', 'tags (!name) are not accepted. Remove it'],
]);

const ALIAS = 'an alias is not accepted. A value that starts with * needs quotes';

/**
 * Reads a config file.
 * @throws {TunnelError} CONFIG_INVALID: the file cannot be read, or one line for each thing that is wrong in it.
 */
export function readConfig<T>(path: string, read: ConfigReader<T>, env?: Environment): T {
  const { text, mode } = readTextFile(path, MAX_FILE_BYTES, 'config file');
  return parseConfig(text, path, read, { env, mode });
}

/** What somebody must know of a file that may have mistakes. */
export interface PartNeeded {
  /** Options and sections that no mistake may touch. */
  readonly needs: readonly string[];
  /** Options at the top that the file must have as soon as there is a mistake. */
  readonly written: readonly string[];
}

/**
 * Reads a config file of which only `needs` matters: the value means nothing beyond it once there are `mistakes`.
 * @throws {TunnelError} CONFIG_INVALID as `readConfig`, when a mistake touches what is needed.
 */
export function readConfigInPart<T>(
  path: string,
  read: ConfigReader<T>,
  { needs, written }: PartNeeded,
): { readonly value: T; readonly mistakes: readonly string[] } {
  const { text, mode } = readTextFile(path, MAX_FILE_BYTES, 'config file');
  let isWritten = false;
  const { value, problems } = parseTree(text, path, { mode }, (root) => {
    isWritten = written.every((key) => root.has(key));
    return read(root);
  });
  if (!isWritten || needs.some((option) => problems.touch(option))) problems.throwIfAny();
  return { value, mistakes: problems.lines };
}

/**
 * Reads the text of a config file. `path` names it in messages; relative paths in it count from that file's folder.
 * @throws {TunnelError} CONFIG_INVALID with one line for each thing that is wrong.
 */
export function parseConfig<T>(text: string, path: string, read: ConfigReader<T>, options: ParseOptions = {}): T {
  const { value, problems } = parseTree(text, path, options, read);
  problems.throwIfAny();
  return value;
}

/** The value, which means nothing when there are problems. Throws for what is no YAML. */
function parseTree<T>(
  text: string,
  path: string,
  options: ParseOptions,
  read: ConfigReader<T>,
): { readonly value: T; readonly problems: Problems } {
  const problems = new Problems(path);
  const tree = parseYaml(text, problems);
  problems.throwIfAny();
  const absolute = resolve(path);
  const context = { problems, path: absolute, folder: dirname(absolute), mode: options.mode, options: undefined };
  const value = Fields.read({ ...context, env: options.env ?? process.env }, tree, '', read);
  return { value, problems };
}

/** Every option that `read` asks for, in its order, with its default. */
export function listOptions(read: ConfigReader<unknown>): ConfigOption[] {
  const options: ConfigOption[] = [];
  const context = { problems: new Problems('options'), path: '/', folder: '/', mode: undefined, env: {}, options };
  Fields.read(context, emptySection(1), '', read);
  return options;
}

interface Place {
  readonly line: number;
  readonly problems: Problems;
  lineAt(offset: number): number;
}

function parseYaml(text: string, problems: Problems): ConfigNode {
  const lines = new LineCounter();
  const lineAt = (offset: number) => Math.max(1, lines.linePos(offset).line);
  const tokens = [...new Parser(lines.addNewLine).parse(text)];
  const tooDeep = tokenBelow(tokens, MAX_DEPTH);
  if (tooDeep) {
    problems.add(lineAt(tooDeep.offset), `this is nested more than ${MAX_DEPTH} levels deep`);
    return emptySection(1);
  }
  const [document, second] = compose(tokens, text.length);
  if (second) problems.add(lineAt(second.range[0]), 'a second document starts here. Keep one, without --- lines');
  if (document) addSyntaxProblems(document, lineAt, problems);
  return problems.isEmpty ? treeOf(document?.contents, { line: 1, problems, lineAt }) : emptySection(1);
}

function compose(tokens: CST.Token[], length: number): Document.Parsed[] {
  const composer = new Composer({ schema: 'core', version: '1.2', merge: false, uniqueKeys: false });
  return [...composer.compose(tokens, true, length)];
}

function addSyntaxProblems(document: Document.Parsed, lineAt: (offset: number) => number, problems: Problems): void {
  const byLine = new Map<number, string>();
  for (const { code, pos } of [...document.errors, ...document.warnings]) {
    const line = lineAt(pos[0]);
    if (byLine.size < MAX_SYNTAX_PROBLEMS && !byLine.has(line)) {
      byLine.set(line, SYNTAX.get(code) ?? `this is not YAML (${code.toLowerCase().replaceAll('_', ' ')})`);
    }
  }
  for (const [line, message] of byLine) problems.add(line, message);
}

/** A token nested deeper than `maxDepth`, if there is one. Iterative, because the depth is the question. */
function tokenBelow(tokens: readonly CST.Token[], maxDepth: number): CST.Token | undefined {
  const waiting = tokens.map((token) => ({ token, depth: 0 }));
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (next.depth > maxDepth) return next.token;
    for (const token of childrenOf(next.token)) waiting.push({ token, depth: next.depth + 1 });
  }
  return undefined;
}

function childrenOf(token: CST.Token): CST.Token[] {
  if (token.type === 'document') return token.value ? [token.value] : [];
  if (!('items' in token)) return [];
  return token.items.flatMap(({ key, value }) => [key, value].filter((child) => child != null));
}

/** The tree of a parsed node; `undefined` and `null` stand for a missing value. */
function treeOf(node: unknown, parent: Place): ConfigNode {
  const place = placeOf(node, parent);
  if (isSeq(node)) return { kind: 'list', line: place.line, items: node.items.map((item) => treeOf(item, place)) };
  if (isMap(node)) {
    return { kind: 'section', line: place.line, entries: node.items.flatMap((pair) => entryOf(pair, place)) };
  }
  if (isAlias(node)) place.problems.add(place.line, ALIAS);
  return isScalar(node) ? scalarOf(node, place.line) : { kind: 'scalar', line: place.line, value: null, text: '' };
}

function entryOf({ key, value }: Pair, parent: Place): ConfigEntry[] {
  const place = placeOf(key, parent);
  if (isScalar(key)) return [{ key: scalarOf(key, place.line).text, line: place.line, node: treeOf(value, place) }];
  place.problems.add(place.line, 'a key must be plain text');
  return [];
}

function scalarOf({ value, source }: Scalar, line: number): ConfigScalar {
  const text = source ?? '';
  const isPlain = value === null || typeof value === 'boolean' || typeof value === 'number';
  return { kind: 'scalar', line, value: isPlain ? value : text, text };
}

/** Where a node stands: on its own first line, or on its parent's when it was left out. */
function placeOf(node: unknown, parent: Place): Place {
  const offset = isNode(node) ? node.range?.[0] : undefined;
  return offset === undefined ? parent : { ...parent, line: parent.lineAt(offset) };
}
