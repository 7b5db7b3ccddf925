/**
 * Errand: a short session of its own, beside that of the running client, in which doctor and why ask the relay. It has a
 * client id that nobody else has, so it replaces nothing, and it claims nothing.
 *
 *   open → closed
 *
 * Owns: one link. Owned by: the verbs `tunnel doctor` and `tunnel why`.
 */
import { randomBytes } from 'node:crypto';
import { asTunnelError, type ErrorCode, TunnelError } from '../../shared/errors.js';
import { DEFAULT_HEARTBEAT } from '../../shared/heartbeat.js';
import { LiveLink } from '../../shared/live-link.js';
import {
  type Probed,
  type RelayMessage,
  readRelayMessage,
  type WatchedRequest,
  type Welcome,
} from '../../shared/messages.js';
import { WindowBudget } from '../../shared/mux/window-budget.js';
import { parseToken } from '../../shared/token.js';
import { dialRelay, type WelcomedLink } from '../session/dial-relay.js';
import type { TunnelConfig, TunnelSpec } from '../tunnel-config.js';

export interface ErrandOptions {
  readonly config: TunnelConfig;
  readonly signal: AbortSignal;
  /** The WebSocket is open, the handshake begins. */
  readonly onConnected?: () => void;
}

interface Waiting {
  readonly isAnswer: (message: RelayMessage) => boolean;
  readonly resolve: (message: RelayMessage) => void;
  readonly reject: (error: TunnelError) => void;
}

const WINDOW_BYTES = 256 * 1024;

export class Errand {
  readonly welcome: Welcome;
  readonly #link: LiveLink;
  readonly #waiting = new Set<Waiting>();
  #end: TunnelError | undefined;

  private constructor({ link, welcome }: WelcomedLink) {
    this.welcome = welcome;
    this.#link = new LiveLink(link, {
      role: 'client',
      heartbeat: DEFAULT_HEARTBEAT,
      maxStreams: 1,
      maxWindowBytes: WINDOW_BYTES,
      windowBudget: new WindowBudget(0),
      onMessage: (text) => this.#onMessage(text),
      onClose: (error) => this.#onClose(error),
    });
  }

  /** Rejects as the client's own session would: LINK_LOST, TOKEN_REJECTED, VERSION_UNSUPPORTED … */
  static async open({ config, signal, onConnected }: ErrandOptions): Promise<Errand> {
    const token = parseToken(config.token);
    const clientId = `errand-${randomBytes(12).toString('base64url')}`;
    const asked = { config, token, clientId, sessionId: '', signal };
    return new Errand(await dialRelay(onConnected === undefined ? asked : { ...asked, onConnected }));
  }

  /** Would this tunnel be granted? Rejects with VERSION_UNSUPPORTED when the relay cannot be asked. */
  async probe({ name, host, tcpPort, tls }: Pick<TunnelSpec, 'name' | 'host' | 'tcpPort' | 'tls'>): Promise<Probed> {
    const answer = this.#answer((message) => message.type === 'probed' && message.name === name);
    this.#link.sendMessage({ type: 'probe', name, host, tcpPort, tls });
    return (await answer) as Probed;
  }

  /**
   * Announces a request. Resolves once the relay looks out for it; rejects with NOT_GRANTED when the token may not have
   * the hostname. `outcome` follows when the request was answered.
   */
  async watch(id: string, host: string): Promise<{ outcome: Promise<WatchedRequest> }> {
    const outcome = this.#answer((message) => message.type === 'watched' && message.id === id);
    outcome.catch(() => {});
    this.#link.sendMessage({ type: 'watch', id, host });
    // Messages are obeyed in their order: when this is answered, the watch has begun.
    const { code, message } = await this.probe({ name: 'errand', host, tcpPort: undefined, tls: 'relay' });
    if (code === 'NOT_GRANTED' || code === 'TOKEN_REJECTED') throw new TunnelError(code, message);
    return { outcome: (outcome as Promise<WatchedRequest>).then(unlessRefused) };
  }

  /** Safe any number of times. */
  close(): void {
    this.#link.sendMessage({ type: 'leave' });
    this.#link.close('LINK_LOST', 'The errand is done');
  }

  #answer(isAnswer: Waiting['isAnswer']): Promise<RelayMessage> {
    return new Promise((resolve, reject) => {
      if (this.#end === undefined) this.#waiting.add({ isAnswer, resolve, reject });
      else reject(this.#end);
    });
  }

  #onMessage(text: string): void {
    try {
      const message = readRelayMessage(text);
      for (const waiting of this.#waiting) {
        if (!waiting.isAnswer(message)) continue;
        this.#waiting.delete(waiting);
        waiting.resolve(message);
        return;
      }
    } catch (error) {
      const { code, message } = asTunnelError(error);
      this.#link.close(code, message);
    }
  }

  #onClose(error: TunnelError): void {
    this.#end = understood(error.code) ? error : tooOld(error);
    for (const { reject } of this.#waiting) reject(this.#end);
    this.#waiting.clear();
  }
}

/** A request that was followed passed one hop before it could meet a limit: without any, the watch itself met one. */
function unlessRefused(word: WatchedRequest): WatchedRequest {
  if (word.code !== 'LIMIT_EXCEEDED' || word.hops.length > 0) return word;
  throw new TunnelError('LIMIT_EXCEEDED', word.message);
}

/** A relay that does not know our questions takes them for a violation. */
function understood(code: ErrorCode): boolean {
  return code !== 'PROTOCOL_VIOLATION';
}

function tooOld(cause: TunnelError): TunnelError {
  const message = 'Cannot ask the relay: it is older than this client and does not know the question. Update it.';
  return new TunnelError('VERSION_UNSUPPORTED', message, { cause });
}
