/**
 * StatusSocket: a running client tells its status to `tunnel status`, over a unix socket that only its user can open.
 *
 * Owns: one HTTP server on `tunnel-PID.sock`. Owned by: the `tunnel up` command.
 */
import { once } from 'node:events';
import { chmod, readdir, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { fetchJson } from '../../shared/fetch-json.js';
import type { ClientStatus } from './client-status.js';
import { ensureStatusFolder, isPrivateFolder, pidOfSocket, socketPath, statusFolder } from './status-folder.js';

export interface StatusSocketOptions {
  /** Where the sockets are; by default the folder of this user. */
  readonly folder?: string;
}

const ANSWER_LIMITS = { timeoutMs: 2_000, maxBytes: 16 * 1024 * 1024 };
const REQUEST_TIMEOUT_MS = 5_000;
const MAX_CONNECTIONS = 16;

export class StatusSocket {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /**
   * Begins to answer with what `snapshot` returns.
   * @throws {TunnelError} CONFIG_INVALID when the folder is not private; the client can do without a status socket.
   */
  static async open(snapshot: () => ClientStatus, options: StatusSocketOptions = {}): Promise<StatusSocket> {
    const folder = options.folder ?? statusFolder();
    await ensureStatusFolder(folder);
    await removeStale(folder);
    const path = socketPath(folder, process.pid);
    // A process that had our id before us, in a container for instance, may have left its socket.
    await rm(path, { force: true });
    const server = statusServer(snapshot);
    server.listen(path);
    await once(server, 'listening');
    await chmod(path, 0o600);
    return new StatusSocket(server);
  }

  /** Stops answering and removes the socket. Safe in any state, any number of times. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

/** The status of every running client of this user, oldest process id first; hung and foreign processes are left out. */
export async function readAllStatuses(options: StatusSocketOptions = {}): Promise<ClientStatus[]> {
  const folder = options.folder ?? statusFolder();
  if (!(await isPrivateFolder(folder))) return [];
  const pids = await socketPids(folder);
  const statuses = await Promise.all(pids.map((pid) => readStatus(socketPath(folder, pid)).catch(() => undefined)));
  return statuses.filter(isClientStatus);
}

function statusServer(snapshot: () => ClientStatus): Server {
  const limits = { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS };
  const server = createServer(limits, (_request, response) => {
    response.setHeader('Content-Type', 'application/json; charset=utf-8');
    response.end(JSON.stringify(snapshot()));
  });
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

function readStatus(path: string): Promise<unknown> {
  return fetchJson({ socketPath: path, path: '/status' }, ANSWER_LIMITS);
}

async function socketPids(folder: string): Promise<number[]> {
  const pids = (await readdir(folder)).map(pidOfSocket).filter((pid) => pid !== undefined);
  return pids.sort((a, b) => a - b);
}

/** Takes away the sockets of processes that ended without `close`. */
async function removeStale(folder: string): Promise<void> {
  for (const pid of await socketPids(folder)) {
    if (!isAlive(pid)) await rm(socketPath(folder, pid), { force: true });
  }
}

/** Whether a process has this id; one of another user counts, since it is not ours to judge. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** Enough of a check that another version's answer cannot break the table. */
function isClientStatus(status: unknown): status is ClientStatus {
  if (typeof status !== 'object' || status === null) return false;
  const { state, relay, version, pid, uptimeMs, links, tunnels } = status as Partial<
    Record<keyof ClientStatus, unknown>
  >;
  const areTexts = [state, relay, version].every((value) => typeof value === 'string');
  return (
    areTexts && Number.isInteger(pid) && typeof uptimeMs === 'number' && Array.isArray(links) && Array.isArray(tunnels)
  );
}
