/**
 * ClientService: what `tunnel up` does beside its tunnels while it runs: it keeps the service manager informed, and takes
 * over its config file when that changes (by itself, or at once on SIGHUP).
 *
 * Owns: the watch over the file, the watchdog, one signal listener. Owned by: the verb `tunnel up`.
 */
import { asTunnelError, TunnelError } from '../shared/errors.js';
import type { ProgramLog } from '../shared/log.js';
import { notifyReady, notifyReloading, notifyStatus, notifyStopping } from '../shared/service/service-notify.js';
import { ServiceWatchdog } from '../shared/service/service-watchdog.js';
import type { Client } from './client.js';
import type { ConfigChanges } from './config-changes.js';
import { ConfigWatch } from './config-watch.js';
import type { TunnelConfig } from './tunnel-config.js';

export interface ClientServiceOptions {
  readonly client: Client;
  readonly log: ProgramLog;
  /** The config file; undefined when everything came from the command line. */
  readonly path: string | undefined;
  /** Reads the file again, with the same command line. Throws CONFIG_INVALID. */
  readonly read: () => TunnelConfig;
}

export class ClientService {
  readonly #options: ClientServiceOptions;
  readonly #watchdog: ServiceWatchdog;
  readonly #watch: ConfigWatch | undefined;
  #state: 'starting' | 'ready' | 'stopping' = 'starting';
  #told = '';

  constructor(options: ClientServiceOptions) {
    this.#options = options;
    const { client, log, path } = options;
    this.#watchdog = new ServiceWatchdog({ probe: () => client.probe(), log });
    this.#watch =
      path === undefined
        ? undefined
        : new ConfigWatch(path, { onChange: this.#reload, onGone: () => this.#refuse(gone(path)) });
    // On a terminal it says that the terminal is gone, and then the client ends, as every program does.
    if (!process.stdout.isTTY) process.on('SIGHUP', this.#onHangUp);
  }

  /** Something that a status line would show has changed. */
  changed(): void {
    if (this.#state === 'stopping') return;
    const { tunnels, state } = this.#options.client.status();
    const online = tunnels.filter((tunnel) => tunnel.state === 'online');
    const status = [
      `${state}, ${online.length} of ${tunnels.length} tunnels online`,
      ...online.map(({ url }) => url),
    ].join(' ');
    if (status === this.#told && this.#state === 'ready') return;
    this.#told = status;
    if (this.#state === 'starting' && online.length > 0) {
      this.#state = 'ready';
      void notifyReady(status);
    } else void notifyStatus(status);
  }

  /** The client drains. */
  stopping(): void {
    this.#state = 'stopping';
    this.#watch?.stop();
    this.#watchdog.stop();
    void notifyStopping('Draining');
  }

  /** Safe any number of times. */
  close(): void {
    this.#watch?.stop();
    this.#watchdog.stop();
    process.off('SIGHUP', this.#onHangUp);
  }

  readonly #onHangUp = (): void => {
    if (this.#options.path === undefined || this.#state === 'stopping') return;
    this.#watch?.catchUp();
    this.#reload();
  };

  readonly #reload = (): void => {
    const isReady = this.#state === 'ready';
    if (isReady) void notifyReloading();
    try {
      this.#take(this.#options.read());
    } catch (error) {
      this.#refuse(asTunnelError(error));
    }
    if (isReady) void notifyReady(this.#told);
  };

  #refuse(error: TunnelError): void {
    const { code, message } = error;
    this.#options.log.error({ code, reason: message }, 'config file not taken over; the old configuration stays');
    this.#options.client.refuseConfig(error);
  }

  #take(wanted: TunnelConfig): void {
    const { client, log } = this.#options;
    if (wanted.tunnels.length === 0) {
      const cure = 'Stop the client to close its tunnels.';
      throw new TunnelError('CONFIG_INVALID', `Cannot go on without a tunnel: the file lists none. ${cure}`);
    }
    const changes = client.apply(wanted);
    log.setLevel(wanted.log.level);
    log.info({ event: 'reloaded', ...fieldsOf(changes) }, 'config file taken over');
    if (changes.waiting.length > 0) log.warn({ waiting: changes.waiting }, 'these options count after a restart only');
  }
}

function gone(path: string): TunnelError {
  const cure = 'Put it back, or stop the client to close its tunnels.';
  return new TunnelError('CONFIG_INVALID', `Cannot read ${path}: it is gone. ${cure}`);
}

function fieldsOf({ release, claim, redirect, applied }: ConfigChanges): Record<string, readonly string[]> {
  const names = (specs: ConfigChanges['claim']) => specs.map(({ name }) => name);
  return { released: release, claimed: names(claim), changed: names(redirect), applied };
}
