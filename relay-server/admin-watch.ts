/**
 * AdminWatch: the asking end of ops/watch-answer.ts: announces a request to the running relay and reads how it fared.
 */
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { TunnelError } from '../shared/errors.js';
import type { Announce, RelayWord } from '../shared/why/follow.js';
import type { RelayDoor } from './find-relay.js';

const MAX_ANSWER_BYTES = 64 * 1024;

/** Announces to the relay behind this door. */
export function announceAt({ target, shown }: RelayDoor, signal: AbortSignal): Announce {
  return async (id, host) => {
    const path = `/api/v1/requests/${id}?host=${encodeURIComponent(host)}`;
    const asked = get({ ...target, path, agent: false, signal });
    asked.on('error', () => {});
    const [response] = (await once(asked, 'response').catch(() => [])) as [IncomingMessage | undefined];
    if (response?.statusCode !== 200) {
      asked.destroy();
      throw new TunnelError('LINK_LOST', `the relay at ${shown} cannot be asked: is it running, and up to date?`);
    }
    return { outcome: readWord(response) };
  };
}

async function readWord(response: IncomingMessage): Promise<RelayWord> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) {
    text += chunk;
    if (text.length > MAX_ANSWER_BYTES) throw new Error('the answer is too long');
  }
  return JSON.parse(text) as RelayWord;
}
