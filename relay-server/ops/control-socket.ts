/**
 * ControlSocket: how the verbs of `relay` reach the relay that runs: a unix socket in its state folder. It takes
 * `reload` and `restart`, which nothing else does, and answers whatever the admin listener answers.
 * Who may open it is what the folder's permissions say: the relay's own user and root. No web page can reach it, so it
 * needs no password and no check of Host and Origin.
 *
 * Owns: one HTTP server on `control.sock`. Owned by: the verb `relay serve`.
 */
import { once } from 'node:events';
import { chmod, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { asTunnelError, type ErrorCode, isErrorCode, TunnelError } from '../../shared/errors.js';
import { type AdminSubject, answerOperator } from './admin-listener.js';

/** What can be asked for. */
export type ControlVerb = 'reload' | 'restart';

/** Does what was asked for and returns what to print. Rejects with TunnelError. */
export type Controls = Readonly<Record<ControlVerb, () => Promise<unknown>>>;

const REQUEST_MS = 5_000;
const MAX_CONNECTIONS = 32;
/** A restart waits for the new process, which may have much to read. */
const ANSWER_MS = 60_000;
const MAX_ANSWER_BYTES = 64 * 1024;

export const NOT_RUNNING = 'it is not running. Start it with `relay serve`.';
export const NOT_YOURS = 'permission denied. Be its user, or root.';

export class ControlSocket {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Begins to answer. Rejects when another relay answers there, or when the path is too long for a socket (107 bytes). */
  static async open(stateDir: string, controls: Controls, subject: AdminSubject): Promise<ControlSocket> {
    const path = controlPath(stateDir);
    if (await isAnswered(path)) throw new Error(`another relay runs with ${stateDir}`);
    await rm(path, { force: true });
    const limits = { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS };
    const server = createServer(limits, (asked, response) => void answer(asked, response, controls, subject));
    server.maxConnections = MAX_CONNECTIONS;
    server.listen(path);
    await once(server, 'listening');
    await chmod(path, 0o600);
    return new ControlSocket(server);
  }

  /** Takes no more requests and removes the socket; an answer that is under way is given. Safe any number of times. */
  close(): void {
    this.#server.close();
  }
}

/**
 * Asks the relay that runs with this state folder; resolves with its answer.
 * @throws {TunnelError} what the relay answers, or LINK_LOST when none does.
 */
export async function askRelay(stateDir: string, verb: ControlVerb): Promise<unknown> {
  const socketPath = controlPath(stateDir);
  const asking = request({ socketPath, path: `/${verb}`, method: 'POST', agent: false, timeout: ANSWER_MS });
  asking.on('timeout', () => asking.destroy(new Error('it does not answer')));
  asking.end();
  try {
    const [response] = (await once(asking, 'response')) as [IncomingMessage];
    const document = JSON.parse(await textOf(response));
    if (response.statusCode === 200) return document;
    throw new TunnelError(isErrorCode(document.code) ? document.code : 'INTERNAL', String(document.message));
  } catch (cause) {
    if (cause instanceof TunnelError) throw cause;
    const reason = reasonOf(cause as NodeJS.ErrnoException);
    throw new TunnelError('LINK_LOST', `Cannot ask the relay at ${socketPath}: ${reason}`, { cause });
  }
}

async function answer(
  asked: IncomingMessage,
  response: ServerResponse,
  controls: Controls,
  subject: AdminSubject,
): Promise<void> {
  const act = new Map<string, () => Promise<unknown>>(Object.entries(controls)).get((asked.url ?? '').slice(1));
  if (act === undefined || asked.method !== 'POST') return answerOperator(asked, response, subject);
  try {
    send(response, 200, await act());
  } catch (error) {
    const { code, message }: { code: ErrorCode; message: string } = asTunnelError(error);
    send(response, 409, { code, message });
  }
}

function send(response: ServerResponse, status: number, document: unknown): void {
  const body = JSON.stringify(document);
  response.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    Connection: 'close',
  });
  response.end(body);
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    bytes += (chunk as Buffer).length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error('its answer is too long');
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString();
}

async function isAnswered(path: string): Promise<boolean> {
  const asking = request({ socketPath: path, path: '/', agent: false, timeout: REQUEST_MS });
  asking.on('timeout', () => asking.destroy(new Error('no answer')));
  asking.end();
  try {
    const [response] = (await once(asking, 'response')) as [IncomingMessage];
    response.destroy();
    return true;
  } catch {
    return false;
  }
}

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  if (code === 'ENOENT' || code === 'ECONNREFUSED') return NOT_RUNNING;
  if (code === 'EACCES') return NOT_YOURS;
  return `${message}. Look at its log.`;
}

/** Where the relay with this state folder is asked. */
export function controlPath(stateDir: string): string {
  return join(stateDir, 'control.sock');
}
