/**
 * A small judge of JSON values by JSON Schema, as far as our OpenAPI document uses it. A keyword that it does not know is a
 * failure: nothing in the document may be left unchecked.
 */

export type Schema = Readonly<Record<string, unknown>>;

interface Judge {
  readonly find: (reference: string) => Schema;
  readonly complaints: string[];
}

type Rule = (value: unknown, argument: unknown, place: string, schema: Schema, judge: Judge) => void;

const DATE_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/;

/** What is wrong with `value`, with the place of each; empty when nothing is. `document` resolves references. */
export function complaintsOf(value: unknown, schema: Schema, document: unknown): string[] {
  const judge: Judge = { find: (reference) => resolveReference(reference, document), complaints: [] };
  check(value, schema, '$', judge);
  return judge.complaints;
}

/** What `#/a/b` names. */
export function resolveReference(reference: string, document: unknown): Schema {
  let found: unknown = document;
  for (const key of reference.replace(/^#\//, '').split('/')) found = (found as Record<string, unknown>)?.[key];
  if (found === undefined) throw new Error(`the document has no ${reference}`);
  return found as Schema;
}

function check(value: unknown, schema: Schema, place: string, judge: Judge): void {
  for (const [keyword, argument] of Object.entries(schema)) {
    const rule = RULES[keyword];
    if (rule === undefined) judge.complaints.push(`${place}: keyword ${keyword} is not known to the test`);
    else rule(value, argument, place, schema, judge);
  }
}

const RULES: Readonly<Record<string, Rule>> = {
  $ref: (value, reference, place, _schema, judge) => check(value, judge.find(String(reference)), place, judge),
  description: () => {},
  type: (value, types, place, _schema, { complaints }) => {
    const wanted = [types].flat();
    if (!wanted.includes(typeOf(value)) && !(wanted.includes('number') && typeOf(value) === 'integer')) {
      complaints.push(`${place}: is ${typeOf(value)}, not ${wanted.join(' or ')}`);
    }
  },
  required: (value, keys, place, _schema, { complaints }) => {
    if (!isObject(value)) return;
    for (const key of keys as string[]) if (!(key in value)) complaints.push(`${place}.${key}: is missing`);
  },
  properties: (value, schemas, place, _schema, judge) => {
    if (!isObject(value)) return;
    for (const [key, schema] of Object.entries(schemas as Record<string, Schema>)) {
      if (key in value) check(value[key], schema, `${place}.${key}`, judge);
    }
  },
  additionalProperties: (value, rule, place, schema, judge) => {
    if (!isObject(value)) return;
    for (const key of Object.keys(value)) {
      if (isObject(schema.properties) && key in schema.properties) continue;
      if (rule === false) judge.complaints.push(`${place}.${key}: is not in the document`);
      else if (rule !== true) check(value[key], rule as Schema, `${place}.${key}`, judge);
    }
  },
  items: (value, schema, place, _schema, judge) => {
    if (!Array.isArray(value)) return;
    for (const [at, item] of value.entries()) check(item, schema as Schema, `${place}[${at}]`, judge);
  },
  enum: (value, values, place, _schema, { complaints }) => {
    if (!(values as unknown[]).includes(value)) complaints.push(`${place}: ${value} is none of the values`);
  },
  minimum: (value, least, place, _schema, { complaints }) => {
    if (typeof value === 'number' && value < Number(least)) complaints.push(`${place}: ${value} is below ${least}`);
  },
  format: (value, format, place, _schema, { complaints }) => {
    if (typeof value !== 'string') return;
    const isRight = format === 'date-time' ? DATE_TIME.test(value) : format === 'uri' && URL.canParse(value);
    if (!isRight) complaints.push(`${place}: ${value} is no ${format}`);
  },
};

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return Number.isInteger(value) ? 'integer' : typeof value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
