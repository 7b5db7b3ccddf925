/**
 * AskRelay: a verb's question to the running relay, or the one thing that it wants done there.
 */
import { ACTION_FIELD } from '../shared/admin-server.js';
import { isErrorCode, TunnelError } from '../shared/errors.js';
import { fetchJson, JsonRefusal } from '../shared/fetch-json.js';
import { printable } from '../shared/printable.js';
import { type DoorOption, failureAt, findRelay, isNobodyThere } from './find-relay.js';
import type { RelayConfig } from './relay-config.js';

const MAX_BYTES = 64 * 1024 * 1024;

/**
 * The list that the running relay answers; undefined when none runs.
 * @throws {TunnelError} what the relay refuses it with; LINK_LOST when something else answers there.
 */
export async function askRelay<Entry>(
  config: RelayConfig,
  options: DoorOption,
  { method, path, timeoutMs }: { readonly method: 'GET' | 'POST'; readonly path: string; readonly timeoutMs: number },
): Promise<readonly Entry[] | undefined> {
  const door = await findRelay(config, options);
  const headers = { [ACTION_FIELD]: 'relay', ...door.target.headers };
  try {
    const answer = await fetchJson({ ...door.target, method, path, headers }, { timeoutMs, maxBytes: MAX_BYTES });
    if (Array.isArray(answer)) return answer as Entry[];
    throw new Error('it is not the list that was asked for');
  } catch (error) {
    if (error instanceof JsonRefusal) throw refusalIn(error);
    if (isNobodyThere(error)) return undefined;
    throw failureAt(door, error);
  }
}

function refusalIn({ body }: JsonRefusal): TunnelError {
  const { code, message } = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  const known = typeof code === 'string' && isErrorCode(code) ? code : 'INTERNAL';
  return new TunnelError(known, printable(String(message)));
}
