/**
 * Successor: starts this program once more, with the listening sockets of the one that runs, so that the two can change
 * places while visitors keep coming. It is started as systemd would start it (sd_listen_fds(3)), says over the channel
 * to its parent when it accepts connections, and is on its own from then on.
 *
 * Other parents have such a channel too (process managers, `fork`). A predecessor is known by a nonce in the environment
 * that it repeats when asked; any other parent is left alone.
 *
 * Owns: the child until it is ready. Owned by: the verb `relay serve`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { TunnelError } from '../shared/errors.js';
import type { NamedSocket } from '../shared/service/listen-sockets.js';
import { thisProgram } from './this-program.js';

/** A successor that needs longer is ended, and the relay goes on as it was. */
const READY_MS = 20_000;

/** How long a successor waits for the nonce. */
const PROOF_MS = 5_000;

/** The nonce of the predecessor, as an environment variable. */
const NONCE = 'SALLYPORT_SUCCESSION';

/** The messages by which a successor asks for the nonce, and says that it accepts connections. */
const WHO = 'who are you?';
const READY = 'ready';
/** Begins the message by which it says why it does not, before it ends. */
const BECAUSE = 'because: ';
/** What is told of a reason. */
const MAX_REASON = 2_000;

/** sd_listen_fds(3) wants the pid of the process itself, which only that process knows: a shell, and then what it becomes. */
const AS_ITSELF = 'LISTEN_PID=$$; WATCHDOG_PID=$$; export LISTEN_PID WATCHDOG_PID; exec "$@"';

/**
 * Starts a successor; resolves with its pid once it accepts connections.
 * @throws {TunnelError} CONFIG_INVALID when it ends before that, with its reason, or takes too long.
 */
export async function startSuccessor(sockets: readonly NamedSocket[]): Promise<number> {
  const nonce = randomUUID();
  const child = spawn('/bin/sh', ['-c', AS_ITSELF, 'sh', ...commandLine()], {
    stdio: ['ignore', 'inherit', 'inherit', ...sockets.map(({ descriptor }) => descriptor), 'ipc'],
    env: {
      ...process.env,
      LISTEN_FDS: String(sockets.length),
      LISTEN_FDNAMES: sockets.map(({ name }) => name).join(':'),
      [NONCE]: nonce,
    },
  });
  try {
    await ready(child, nonce);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  if (child.connected) child.disconnect();
  child.unref();
  return child.pid ?? 0;
}

/** Whether another relay started this process to be its successor, and waits for it. */
export async function isSuccessor(): Promise<boolean> {
  const nonce = process.env[NONCE];
  // It is nothing for the programs that this one starts.
  delete process.env[NONCE];
  if (nonce === undefined || process.send === undefined || !process.connected) return false;
  const proved = new Promise<boolean>((resolve) => {
    const settle = (isProved: boolean) => {
      clearTimeout(deadline);
      process.off('message', onMessage).off('disconnect', onDisconnect);
      resolve(isProved);
    };
    const onMessage = (message: unknown) => {
      if (message === nonce) settle(true);
    };
    const onDisconnect = () => settle(false);
    const deadline = setTimeout(() => settle(false), PROOF_MS);
    process.on('message', onMessage).on('disconnect', onDisconnect);
  });
  process.send(WHO, () => {});
  return proved;
}

/** Tells the predecessor that this process accepts connections. */
export function tellPredecessor(): void {
  process.send?.(READY, () => {
    if (process.connected) process.disconnect?.();
  });
}

/** Tells the predecessor, if there is one, why this process ends; resolves once that is on its way. */
export function tellFailure({ message }: Error): Promise<void> {
  return new Promise((resolve) => {
    if (process.env[NONCE] === undefined || process.send === undefined || !process.connected) resolve();
    else process.send(`${BECAUSE}${message}`, () => resolve());
  });
}

function ready(child: ChildProcess, nonce: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let reason = '';
    const refuse = (state: string) => {
      const why = reason === '' ? '.' : `: ${reason.replace(/\.?$/, '.')}`;
      const cure = reason === '' ? 'The old one goes on; look at the log.' : 'The old one goes on.';
      const message = `Cannot restart: the new process ${state}${why} ${cure}`;
      finish();
      reject(new TunnelError('CONFIG_INVALID', message));
    };
    const onMessage = (message: unknown) => {
      if (message === WHO) child.send(nonce, () => {});
      if (typeof message === 'string' && message.startsWith(BECAUSE)) {
        reason = message.slice(BECAUSE.length, MAX_REASON);
      }
      if (message !== READY) return;
      finish();
      resolve();
    };
    const onError = (error: Error) => refuse(`could not be started (${error.message})`);
    const onExit = (code: number | null, signal: string | null) => {
      const end = () => refuse(`ended with ${code ?? signal}`);
      // Its last words may still be on their way.
      if (child.connected) child.once('disconnect', end);
      else end();
    };
    const deadline = setTimeout(() => refuse(`was not ready within ${READY_MS / 1_000} s`), READY_MS);
    const finish = () => {
      clearTimeout(deadline);
      child.off('message', onMessage).off('error', onError).off('exit', onExit);
      child.on('error', () => {});
    };
    child.on('message', onMessage).on('error', onError).on('exit', onExit);
  });
}

/** This program with its arguments. */
function commandLine(): string[] {
  return [...thisProgram(), ...process.argv.slice(2)];
}
