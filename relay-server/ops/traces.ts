/**
 * Traces: follows single requests through the relay, for `tunnel why` and `relay why`. Somebody who may know announces a
 * random id; the request that carries it (field X-Sallyport-Trace) is then noted hop by hop, and told to that one alone.
 *
 *   awaited (TRACE_MS) → followed (TRACE_MS) → told
 *
 * A stranger who sends the field is not answered, not even differently: unannounced ids are ignored. At most MAX_WATCHES
 * wait at a time, and of one asker MAX_ASKER_WATCHES, however often its session begins anew. Owns: one timer per watch. Owned by: Relay.
 */
import { type ErrorCode, TunnelError } from '../../shared/errors.js';
import { type PassedHop, type RelayHop, TRACE_ID, type WatchedRequest } from '../../shared/messages.js';

/** How far one request came. */
export type TraceOutcome = Omit<WatchedRequest, 'type' | 'id'>;

const MAX_WATCHES = 64;
const MAX_ASKER_WATCHES = 8;
/** For the request to come, and again for its answer to begin. */
const TRACE_MS = 30_000;
const MAX_FACT = 200;

export class Traces {
  readonly #watches = new Map<string, Trace>();

  /**
   * Resolves with how the request with this id, to this hostname, fared; without a hop when none came in time.
   * Rejects with LIMIT_EXCEEDED, or REQUEST_INVALID for an id that could be guessed or is in use.
   * @param asker Whose watches count together: the id of a token, or '' for the operator.
   */
  watch(id: string, host: string, asker: string): Promise<TraceOutcome> {
    if (!TRACE_ID.test(id) || this.#watches.has(id)) {
      return Promise.reject(new TunnelError('REQUEST_INVALID', 'Cannot watch: the id must be new and random'));
    }
    const ofAsker = [...this.#watches.values()].filter((trace) => trace.asker === asker).length;
    if (this.#watches.size >= MAX_WATCHES || ofAsker >= MAX_ASKER_WATCHES) {
      return Promise.reject(new TunnelError('LIMIT_EXCEEDED', 'Cannot watch: too many requests are watched'));
    }
    return new Promise((resolve) => {
      const trace = new Trace(host, asker, (outcome) => {
        this.#watches.delete(id);
        resolve(outcome);
      });
      this.#watches.set(id, trace);
    });
  }

  /** The trace of a request that has arrived, if somebody watches for it. Of two with one id the first counts. */
  begin(id: string | undefined, hostname: string): Trace | undefined {
    if (id === undefined || id === '' || this.#watches.size === 0) return undefined;
    const trace = this.#watches.get(id);
    return trace?.begin(hostname) ? trace : undefined;
  }

  /** Tells every watcher what is known. Safe any number of times. */
  close(): void {
    for (const trace of this.#watches.values()) trace.finish('RELAY_DRAINING', 'the relay is stopping');
  }
}

/** One watched request. */
export class Trace {
  /** Who watches it. */
  readonly asker: string;
  readonly #host: string;
  readonly #tell: (outcome: TraceOutcome) => void;
  readonly #hops: PassedHop[] = [];
  #timer: NodeJS.Timeout;
  #passedAtMs = 0;
  #state: 'awaited' | 'followed' | 'told' = 'awaited';

  constructor(host: string, asker: string, tell: (outcome: TraceOutcome) => void) {
    this.asker = asker;
    this.#host = host;
    this.#tell = tell;
    this.#timer = setTimeout(() => this.finish(undefined, 'no such request came'), TRACE_MS);
  }

  /** The request has arrived. False when it is not the one: another hostname, or the second with this id. */
  begin(hostname: string): boolean {
    if (this.#state !== 'awaited' || hostname !== this.#host) return false;
    this.#state = 'followed';
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.finish(undefined, 'no answer yet'), TRACE_MS);
    this.#passedAtMs = performance.now();
    return true;
  }

  /** It passed a hop; `ms` is the time since the one before, unless something knows better. */
  pass(hop: RelayHop, fact: string, ms = this.#sincePassed()): void {
    if (this.#state !== 'followed' || this.#hops.some((passed) => passed.hop === hop)) return;
    this.#passedAtMs = performance.now();
    this.#hops.push({ hop, ms, fact: fact.slice(0, MAX_FACT) });
    if (hop === 'app') this.finish(undefined, '');
  }

  /** The time of a hop that took part in what came after it: counted there, not here. */
  passWithin(hop: RelayHop, fact: string, ms: number): void {
    const startedAtMs = this.#passedAtMs;
    this.pass(hop, fact, ms);
    this.#passedAtMs = startedAtMs + ms;
  }

  /** It is over: with the code of its failure, or without one. Safe any number of times. */
  finish(code: ErrorCode | undefined, message: string): void {
    if (this.#state === 'told') return;
    this.#state = 'told';
    clearTimeout(this.#timer);
    this.#tell({ code, message: message.slice(0, MAX_FACT), hops: this.#hops });
  }

  #sincePassed(): number {
    return Math.max(0, performance.now() - this.#passedAtMs);
  }
}
