/**
 * Config edit: decides how a program changes single top-level keys of a YAML file that a person wrote: only the lines of
 * those keys change; every other line and comment stays as it was typed. A file whose keys have no lines of their own
 * (`{ links: 4 }`) is written anew. The second door of `yaml`, beside config-file.ts, which reads. Pure; owns nothing.
 */
import { isDeepStrictEqual } from 'node:util';
import { type Document, isMap, isNode, isScalar, type Pair, parseDocument, stringify, visit, YAMLMap } from 'yaml';
import { TunnelError } from '../errors.js';

/** A new value for each key; undefined removes the key. New keys stand behind the change before them. */
export type ConfigChanges = Readonly<Record<string, string | undefined>>;

/**
 * The text with these keys changed.
 * @param path names the file in messages.
 * @throws {TunnelError} CONFIG_INVALID when the text is not YAML with keys at its top, without repeating any of it.
 */
export function editConfigText(text: string, path: string, changes: ConfigChanges): string {
  const document = parse(text);
  const root = rootOf(document);
  if (!root) {
    const cure = 'Correct it (`tunnel check` names the line), or move it away.';
    throw new TunnelError('CONFIG_INVALID', `Cannot change ${path}: it is not a config file. ${cure}`);
  }
  editTree(document, root, changes);
  const lines = editLines(text, changes);
  return means(lines, document) ? lines : document.toString({ lineWidth: 0 });
}

function editTree(document: Document, root: YAMLMap, changes: ConfigChanges): void {
  let next = 0;
  for (const [key, value] of Object.entries(changes)) {
    const index = root.items.findIndex((pair) => isKey(pair, key));
    if (value === undefined) root.delete(key);
    else if (index < 0) root.items.splice(next, 0, document.createPair(key, value));
    else root.set(key, value);
    if (value !== undefined) next = (index < 0 ? next : index) + 1;
  }
}

/** The same by lines; right for a block of keys with plain values, and for others only by chance: `means` decides. */
function editLines(text: string, changes: ConfigChanges): string {
  let edited = text;
  let previous: string | undefined;
  for (const [key, value] of Object.entries(changes)) {
    edited = editLine(edited, key, value, previous);
    if (value !== undefined) previous = key;
  }
  return edited;
}

function editLine(text: string, key: string, value: string | undefined, previous: string | undefined): string {
  const items = rootOf(parse(text))?.items ?? [];
  const old = spanOf(items.find((pair) => isKey(pair, key)));
  if (value === undefined)
    return old ? text.slice(0, lineStart(text, old.key)) + text.slice(lineEnd(text, old.to)) : text;
  const written = scalarText(value);
  if (old) return `${text.slice(0, old.from)}${old.from === old.to ? ' ' : ''}${written}${text.slice(old.to)}`;
  const before = spanOf(items.find((pair) => isKey(pair, previous)));
  const first = spanOf(items[0]);
  const at = before ? lineEnd(text, before.to) : first ? lineStart(text, first.key) : text.length;
  const newLine = at > 0 && text[at - 1] !== '\n' ? '\n' : '';
  return `${text.slice(0, at)}${newLine}${key}: ${written}\n${text.slice(at)}`;
}

function means(text: string, document: Document): boolean {
  const parsed = parse(text);
  return rootOf(parsed) !== undefined && isDeepStrictEqual(parsed.toJS(), document.toJS());
}

/** Where a pair stands in its text: its key, and its value from and to. */
function spanOf(pair: Pair | undefined): { key: number; from: number; to: number } | undefined {
  if (!pair || !isScalar(pair.key) || !isNode(pair.value) || !pair.key.range || !pair.value.range) return undefined;
  return { key: pair.key.range[0], from: pair.value.range[0], to: pair.value.range[1] };
}

function lineStart(text: string, at: number): number {
  return at === 0 ? 0 : text.lastIndexOf('\n', at - 1) + 1;
}

/** Behind the line break that ends the line of the character before `at`. */
function lineEnd(text: string, at: number): number {
  const end = text.indexOf('\n', text[at - 1] === '\n' ? at - 1 : at);
  return end < 0 ? text.length : end + 1;
}

function scalarText(value: string): string {
  return stringify(value, { lineWidth: 0 }).trimEnd();
}

/** The text of a top-level key; undefined when the file has no such text. */
export function readConfigText(text: string, key: string): string | undefined {
  const value = rootOf(parse(text))?.get(key);
  return typeof value === 'string' ? value : undefined;
}

function parse(text: string): Document {
  return parseDocument(text, { schema: 'core', version: '1.2', merge: false });
}

/** The keys at the top; an empty document gets some. Undefined when it is anything else, or has a key that is no word. */
function rootOf(document: Document): YAMLMap | undefined {
  if (document.errors.length > 0 || hasAlias(document)) return undefined;
  document.contents ??= new YAMLMap(document.schema);
  const { contents } = document;
  return isMap(contents) && contents.items.every((pair) => isScalar(pair.key)) ? contents : undefined;
}

/** An alias may name an anchor that an edit takes away; config files have none anyway (config-tree.ts). */
function hasAlias(document: Document): boolean {
  let found = false;
  visit(document, {
    Alias: () => {
      found = true;
      return visit.BREAK;
    },
  });
  return found;
}

function isKey(pair: Pair, key: string | undefined): boolean {
  return isScalar(pair.key) && pair.key.value === key;
}
