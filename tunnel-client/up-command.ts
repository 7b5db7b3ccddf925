/**
 * `tunnel up`: opens tunnels and keeps them open until a signal ends it. On a terminal it shows a live screen, otherwise
 * it writes one line per event on stdout, and on stderr the log of all that is no event.
 */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { formatAddress } from '../shared/address.js';
import type { AdminServer } from '../shared/admin-server.js';
import { asTunnelError, exitOf, TunnelError } from '../shared/errors.js';
import { createLog, type Log, type ProgramLog, silentLog } from '../shared/log.js';
import { onStopSignal } from '../shared/stop-signal.js';
import { Client, type ClientEvents } from './client.js';
import { ClientService } from './client-service.js';
import { userTunnelConfig } from './find-tunnel-config.js';
import { listenForAdmin } from './ops/admin-listener.js';
import { StatusSocket } from './ops/status-socket.js';
import { LiveScreen } from './screen/live-screen.js';
import { createOutput, type OutputMode } from './screen/plain-output.js';
import { clientIdOf } from './session/client-id.js';
import { readTunnelConfig, type TunnelConfig, tunnelConfigFrom } from './tunnel-config.js';
import type { TunnelOverrides } from './tunnel-overrides.js';

export interface UpOptions extends Omit<TunnelOverrides, 'target'> {
  readonly config?: string;
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly once?: boolean;
}

/** Adds the verb to `tunnel`. */
export function addUpCommand(program: Command): void {
  program
    .command('up')
    .argument('[target]', '3000, host:3000, https://host, unix:/path, tcp://host:22; the whole config file without one')
    .description('open tunnels and keep them open')
    .option('--host <host>', 'public hostname for TARGET')
    .option('--tls <where>', 'where TLS of visitors ends: relay, end-to-end (here) or passthrough (at TARGET)')
    .option('--tcp-port <port>', 'public TCP port for TARGET, instead of a hostname')
    .option('--name <name>', 'name of the tunnel; without TARGET, which tunnel of the file')
    .option('--config <file>', 'tunnel.yaml; ~/.config/sallyport/tunnel.yaml when left out')
    .option('--relay <url>', "the relay's URL, without a config file")
    .option('--relay-address <host:port>', 'where to connect, when it is not what the URL says')
    .option('--relay-ca-file <file>', 'trust this CA for the link')
    .option('--token-file <file>', 'file with the token; the variable SALLYPORT_TOKEN works too')
    .option('--once', 'give up (exit 69) when the relay cannot be reached at first')
    .option('--quiet', 'print the URLs alone')
    .option('--json', 'print one JSON object per event')
    .action((target: string | undefined, options: UpOptions) => runUp(target, options));
}

/** Returns when the client was stopped or replaced. Rejects with the refusal that ended it. */
export async function runUp(target: string | undefined, options: UpOptions): Promise<void> {
  const config = readConfig(target, options);
  if (config.tunnels.length === 0) {
    const cure = 'Say what to expose: tunnel up 3000 --host app.example.com, or list it under "tunnels:"';
    throw new TunnelError(
      'CONFIG_INVALID',
      `Cannot open tunnels: none is configured. ${cure}${config.path ? ` in ${config.path}.` : '.'}`,
    );
  }
  const face = chooseFace(options, config, {
    status: () => client.status(),
    onChange: () => service?.changed(),
  });
  const client: Client = new Client({
    config,
    clientId: clientIdOf(config, target !== undefined),
    once: options.once === true,
    log: face.log,
    eventLog: face.eventLog,
    events: face.events,
  });
  const status = await openStatus(client, face.log);
  const admin = await openAdmin(client, config, face.log);
  const read = () => readConfig(target, options);
  const service: ClientService = new ClientService({ client, log: face.log, path: config.path, read });
  const drain = () => {
    service.stopping();
    void client.drain();
  };
  const stopListening = onStopSignal({ drain, end: () => client.close() });
  face.start();
  try {
    await client.run();
    face.stop();
    face.stopped();
  } catch (error) {
    face.stop();
    face.failed(asTunnelError(error));
  } finally {
    stopListening();
    service.close();
    await Promise.all([status?.close(), admin?.close()]);
  }
}

function readConfig(target: string | undefined, options: UpOptions): TunnelConfig {
  const overrides: TunnelOverrides = { ...options, target };
  const path = options.config ?? userTunnelConfig();
  if (options.config === undefined && (options.relay !== undefined || !existsSync(path)))
    return tunnelConfigFrom(overrides);
  return readTunnelConfig(path, overrides);
}

/** People may ask a running client with `tunnel status`; a client that cannot be asked serves all the same. */
async function openStatus(client: Client, log: Log): Promise<StatusSocket | undefined> {
  try {
    return await StatusSocket.open(() => client.status());
  } catch (error) {
    log.warn({ reason: asTunnelError(error).message }, 'tunnel status will not find this client');
    return undefined;
  }
}

/** Visitors come before the watching of them: a client whose metrics nobody can read serves all the same. */
async function openAdmin(client: Client, { admin }: TunnelConfig, log: Log): Promise<AdminServer | undefined> {
  if (admin === undefined) return undefined;
  try {
    const server = await listenForAdmin(admin, client);
    log.info({ address: formatAddress(server.address) }, 'answering health and metrics');
    return server;
  } catch (error) {
    log.error({ reason: asTunnelError(error).message }, 'health and metrics cannot be asked for');
    return undefined;
  }
}

/** What a person or a program sees of the client. */
interface Face {
  readonly log: ProgramLog;
  /** For what `events` tell too. */
  readonly eventLog: Log;
  readonly events: ClientEvents;
  start(): void;
  stop(): void;
  stopped(): void;
  /** Reports the end and sets the exit code. */
  failed(error: TunnelError): void;
}

/** What a face needs of the client that it shows. */
interface Shown {
  readonly status: () => ReturnType<Client['status']>;
  /** To be called when something that a status line would show has changed. */
  readonly onChange: () => void;
}

function chooseFace(options: UpOptions, config: TunnelConfig, shown: Shown): Face {
  const mode: OutputMode = options.json ? 'json' : options.quiet ? 'quiet' : 'plain';
  if (mode === 'plain' && process.stdout.isTTY && process.env.TERM !== 'dumb') return screenFace(config, shown);
  return plainFace(mode, config, shown);
}

function plainFace(mode: OutputMode, config: TunnelConfig, { onChange }: Shown): Face {
  const output = createOutput(mode, process.stdout);
  const events: ClientEvents = {
    up: (event) => output.up(event),
    denied: (event) => output.denied(event),
    down: (event) => output.down(event),
    certificate: (event) => output.certificate(event),
    reconnecting: (event) => output.reconnecting(event),
    changed: onChange,
  };
  const log = createLog({ ...config.log, destination: 'stderr' });
  return {
    log,
    // A service's two streams end in one journal: what stdout says is not said again.
    eventLog: mode === 'quiet' || config.log.level === 'debug' ? log : silentLog,
    events,
    start: () => {},
    stop: () => {},
    stopped: () => output.stopped(),
    failed: (error) => {
      process.exitCode = exitOf(error.code);
      output.failed({ code: error.code, message: error.message, exitCode: exitOf(error.code) });
    },
  };
}

function screenFace(config: TunnelConfig, shown: Shown): Face {
  const screen = new LiveScreen(process.stdout, shown.status);
  const plain = plainFace('plain', config, shown);
  // The screen shows what happens; only who asks for more gets log lines above it.
  const level = config.log.level === 'debug' ? 'debug' : 'error';
  const changed = () => {
    screen.update();
    shown.onChange();
  };
  const log = createLog({
    level,
    format: 'text',
    destination: { write: (line) => screen.printAbove(line), isTTY: true },
  });
  return {
    ...plain,
    log,
    eventLog: log,
    events: { up: changed, denied: changed, down: changed, certificate: changed, reconnecting: changed, changed },
    start: () => screen.start(),
    stop: () => screen.stop(),
    stopped: () => {},
  };
}
