/**
 * Serving: what `relay serve` does between its start and its end: it keeps the service manager informed, reloads when
 * asked (SIGHUP, `relay reload`), hands over to a successor (`relay restart`) and stops (SIGTERM).
 *
 *   running → reloading → running        running → handing over → draining → ended        running → draining → ended
 *
 * Owns: the relay, its control socket, the watchdog, signal listeners. Owned by: serve-command.ts.
 */
import { asTunnelError, TunnelError } from '../shared/errors.js';
import type { ProgramLog } from '../shared/log.js';
import { ListenSockets } from '../shared/service/listen-sockets.js';
import {
  hasServiceManager,
  notifyReady,
  notifyReloading,
  notifyStatus,
  notifyStopping,
} from '../shared/service/service-notify.js';
import { ServiceWatchdog } from '../shared/service/service-watchdog.js';
import { onStopSignal } from '../shared/stop-signal.js';
import { ControlSocket } from './ops/control-socket.js';
import { readOwnConfig } from './own-config.js';
import { Relay } from './relay.js';
import type { RelayConfig } from './relay-config.js';
import type { ReloadReport } from './relay-reload.js';
import { isSuccessor, startSuccessor, tellPredecessor } from './successor.js';
import { thisProgram } from './this-program.js';
import { TLS_WORKER_VERB } from './tls-worker-command.js';

/** How soon clients come back when a successor already waits for them: at once, but not all in the same instant. */
const RECONNECT_TO_SUCCESSOR_MS = 0;

export class Serving {
  readonly #path: string;
  /** Where the relay that runs keeps its state. */
  readonly #stateDir: string;
  readonly #log: ProgramLog;
  readonly #relay: Relay;
  readonly #watchdog: ServiceWatchdog;
  /** Resolves when the relay has stopped. */
  readonly ended: Promise<void>;
  readonly #stopListening: () => void;
  readonly #leftovers: NodeJS.Timeout;
  #control: ControlSocket | undefined;
  #task: Promise<unknown> = Promise.resolve();
  #end: (ending: Promise<void>) => void = () => {};

  private constructor(path: string, stateDir: string, relay: Relay, log: ProgramLog, leftovers: NodeJS.Timeout) {
    this.#path = path;
    this.#stateDir = stateDir;
    this.#relay = relay;
    this.#log = log;
    this.#leftovers = leftovers;
    this.#watchdog = new ServiceWatchdog({ probe: () => relay.probe(), log });
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    process.on('SIGHUP', this.#onHangUp);
    this.#stopListening = onStopSignal({ drain: () => this.#stop(), end: () => this.#end(relay.close()) });
  }

  /** Starts the relay of this config file. Rejects with CONFIG_INVALID. */
  static async start(path: string, config: RelayConfig, log: ProgramLog): Promise<Serving> {
    const sockets = ListenSockets.ofProcess();
    const relay = await Relay.start(config, log, { sockets, workerCommand: [...thisProgram(), TLS_WORKER_VERB] });
    // A client that had a public port has come back by then, or does not come any more.
    const leftovers = setTimeout(() => sockets.close(), 2 * config.limits.heldMs);
    const serving = new Serving(path, config.stateDir, relay, log, leftovers);
    const addresses = Object.fromEntries(relay.listeners.map(({ name, address }) => [name, address]));
    await serving.#openControl();
    log.info({ event: 'listening', domain: config.domain, ...addresses }, 'relay listening');
    const told = notifyReady(statusOf(relay));
    if (await isSuccessor()) await serving.#relieve(told);
    return serving;
  }

  /** Releases what only a running relay needs. Call it once `ended` has resolved. */
  close(): void {
    clearTimeout(this.#leftovers);
    this.#watchdog.stop();
    this.#control?.close();
    this.#stopListening();
    process.off('SIGHUP', this.#onHangUp);
  }

  readonly #onHangUp = (): void => {
    this.#inTurn(() => this.#reload()).catch((error: unknown) => {
      const { code, message } = asTunnelError(error);
      this.#log.error({ code, reason: message }, 'configuration not reloaded; the old one stays');
    });
  };

  /** One thing at a time: a reload must not change what a successor was just promised. */
  #inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
    const result = this.#task.then(act);
    this.#task = result.catch(() => {});
    return result;
  }

  async #reload(): Promise<ReloadReport> {
    if (this.#relay.state !== 'running') throw busy(this.#relay.state);
    await notifyReloading();
    try {
      const wanted = readOwnConfig(this.#path);
      const report = await this.#relay.reload(wanted);
      this.#log.setLevel(wanted.log.level);
      return report;
    } catch (error) {
      const { code, message } = asTunnelError(error);
      this.#relay.refuseReload(code, message);
      throw error;
    } finally {
      await notifyReady(statusOf(this.#relay));
    }
  }

  /** A new process of this program takes over the listening sockets; this one finishes what it has and ends. */
  async #restart(): Promise<{ pid: number }> {
    if (this.#relay.state !== 'running') throw busy(this.#relay.state);
    if (!hasServiceManager()) {
      const state = 'no service manager would know the new process (NOTIFY_SOCKET is not set)';
      throw new TunnelError('CONFIG_INVALID', `Cannot hand over: ${state}. Stop the relay and start it again.`);
    }
    const wanted = readOwnConfig(this.#path);
    // The successor has the control socket from now on; what closes here would take its file away.
    this.#control?.close();
    await notifyStatus('Starting a successor');
    this.#watchdog.stop();
    try {
      const pid = await startSuccessor(this.#relay.socketsFor(wanted));
      this.#log.info(
        { event: 'handed-over', successor: pid },
        'a successor accepts visitors; this process finishes its own',
      );
      // The answer goes first: with nothing to finish, this process ends in the next turn.
      setImmediate(() => this.#end(this.#relay.drain(RECONNECT_TO_SUCCESSOR_MS)));
      return { pid };
    } catch (error) {
      // In the folder of this relay: the file may name another one by now.
      await this.#openControl();
      this.#watchdog.start();
      await notifyReady(statusOf(this.#relay));
      throw error;
    }
  }

  /**
   * Lets the predecessor end. Not before the service manager knows this process as the service's: the end of the old one
   * would be the end of the service.
   */
  async #relieve(told: Promise<boolean>): Promise<void> {
    if (await told) {
      tellPredecessor();
      return;
    }
    this.close();
    await this.#relay.close();
    throw new TunnelError('CONFIG_INVALID', 'Cannot take over: the service manager does not answer.');
  }

  #stop(): void {
    // Once a successor is the service, the end of this process is not the end of the service.
    if (this.#relay.state === 'running')
      void notifyStopping(`Draining, at most ${Math.ceil(this.#relay.drainMs / 1_000)} s`);
    this.#watchdog.stop();
    this.#end(this.#relay.drain());
  }

  /** A relay that cannot be asked serves all the same; SIGHUP still reloads it. */
  async #openControl(): Promise<void> {
    try {
      const controls = {
        reload: () => this.#inTurn(() => this.#reload()),
        restart: () => this.#inTurn(() => this.#restart()),
      };
      this.#control = await ControlSocket.open(this.#stateDir, controls, this.#relay.adminSubject());
    } catch (error) {
      this.#log.warn(
        { reason: asTunnelError(error).message },
        'relay reload and relay restart will not find this relay',
      );
    }
  }
}

function statusOf(relay: Relay): string {
  const addresses = relay.listeners.map(({ name, address }) => `${name} ${address}`).join(', ');
  return `Listening: ${addresses}`;
}

function busy(state: string): TunnelError {
  return new TunnelError('RELAY_DRAINING', `Cannot do that: the relay is ${state}. Ask again in a moment.`);
}
