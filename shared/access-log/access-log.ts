/**
 * AccessLog: decides which requests and carried connections are written down, and where to. Each program has one; the
 * relay's sees every HTTP exchange whose TLS it ends and every connection that it passes, the client's sees the exchanges of
 * its end-to-end tunnels, which nobody else can.
 *
 * Nobody waits for it: making a line costs microseconds, and LineSink does the rest.
 * Owns: the sink. Owned by: Relay, Client.
 */
import type { ExchangeRecord } from '../http/http-site.js';
import type { Log } from '../log.js';
import type { AccessConfig } from './access-config.js';
import { type AccessPlace, type ConnectionRecord, connectionLine, pathOf, requestLine } from './access-line.js';
import { LineSink } from './line-sink.js';

export class AccessLog {
  readonly #log: Log;
  #config: AccessConfig;
  #sink: LineSink | undefined;
  #droppedBefore = 0;

  constructor(config: AccessConfig, log: Log) {
    this.#config = config;
    this.#log = log;
    this.#sink = this.#open(config);
  }

  /** Lines that were lost since the start because the disk or the reader of stdout was too slow, or refused them. */
  get dropped(): number {
    return this.#droppedBefore + (this.#sink?.dropped ?? 0);
  }

  /** Takes over other options, and opens the file anew in any case: logrotate may have moved it. */
  configure(config: AccessConfig): void {
    const isSame = JSON.stringify(config) === JSON.stringify(this.#config);
    this.#config = config;
    if (isSame) this.#sink?.reopen();
    else {
      const old = this.#sink;
      this.#droppedBefore = this.dropped;
      this.#sink = this.#open(config);
      void old?.close();
    }
  }

  /** An exchange ended. Keeps nothing of `record`. */
  exchanged(record: ExchangeRecord, place: AccessPlace): void {
    if (this.#sink === undefined || this.#isSkipped(record.request?.target)) return;
    this.#sink.write(requestLine(record, place, this.#config, Date.now()));
  }

  /** A carried connection ended. */
  carried(record: ConnectionRecord, place: AccessPlace): void {
    this.#sink?.write(connectionLine(record, place, this.#config, Date.now()));
  }

  /** Resolves when everything is written, or after 2 s. Safe any number of times. */
  async close(): Promise<void> {
    await this.#sink?.close();
  }

  #isSkipped(target: string | undefined): boolean {
    const { skipPaths } = this.#config;
    if (target === undefined || skipPaths.length === 0) return false;
    const path = pathOf(target);
    return skipPaths.some((skip) => (skip.endsWith('*') ? path.startsWith(skip.slice(0, -1)) : path === skip));
  }

  #open({ to, file, maxFileBytes, maxFiles }: AccessConfig): LineSink | undefined {
    if (to === 'off') return undefined;
    const onTrouble = (reason: string | undefined, dropped: number) => {
      if (reason === undefined) this.#log.info({ dropped }, 'access log is written again');
      else this.#log.warn({ reason, dropped }, 'access log loses lines');
    };
    return new LineSink({ to: to === 'file' ? { file } : to, maxFileBytes, maxFiles, onTrouble });
  }
}
