/**
 * JsonObject: reads JSON that may be anything as the fields of an object, for files and answers that others can have spoilt.
 * Pure; owns nothing.
 */

/** The fields of what JSON.parse made; none where that is no object. */
export function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** The fields in a JSON text; none where it holds no object, or no JSON at all. */
export function parseJsonObject(text: string): Readonly<Record<string, unknown>> {
  try {
    return objectOf(JSON.parse(text));
  } catch {
    return {};
  }
}
