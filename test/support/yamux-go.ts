/**
 * hashicorp/yamux as the peer of our mux: builds the Go program under test/interop once per test process, starts it, and
 * joins one of our sessions to it over TCP. What its modes do stands in test/interop/main.go.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { TunnelError } from '../../shared/errors.js';
import { MuxSession, type MuxSessionOptions } from '../../shared/mux/session.js';
import { WindowBudget } from '../../shared/mux/window-budget.js';
import { requireTool, skipFor } from './require-tool.js';

const sources = fileURLToPath(new URL('../../../test/interop/', import.meta.url));
const BATCH_BYTES = 64 * 1024;

/** The line that the program prints when the connection is over. */
export interface GoResult {
  readonly streams: number;
  readonly bytes: number;
  /** SHA-256 of what its last source or sink moved. */
  readonly sum: string;
  /** What went wrong on its streams. */
  readonly failures: readonly string[];
  /** What the Go library had to say against us. */
  readonly complaints: readonly string[];
  /** True when we answered its ping. */
  readonly pinged: boolean;
}

export interface GoPeerOptions {
  /** Our yamux role; the program takes the other one. */
  readonly role: 'client' | 'server';
  readonly mode: 'echo' | 'sink' | 'source' | 'check' | 'reset' | 'await-reset' | 'drain' | 'refuse';
  /** Streams that the program opens; absent: it accepts them. */
  readonly opens?: number;
  /** Bytes that a source or check sends on each stream. */
  readonly bytes?: number;
  /** The program listens and we dial, instead of the other way round. */
  readonly listens?: boolean;
  readonly session?: Partial<MuxSessionOptions>;
}

export interface GoPeer {
  readonly session: MuxSession;
  /** Resolves when the program has closed the connection by itself. */
  readonly gone: Promise<unknown>;
  /** Closes our session and its connection; what the program saw. */
  finish(): Promise<GoResult>;
}

let built: Promise<string | TunnelError> | undefined;

/** Starts the program and a session with it; undefined when the test was skipped for want of Go. */
export async function startGoPeer(t: TestContext, options: GoPeerOptions): Promise<GoPeer | undefined> {
  const go = requireTool(t, 'go', 'golang-go');
  if (go === undefined) return undefined;
  built ??= build(go);
  const program = await built;
  if (program instanceof TunnelError) {
    skipFor(t, program.message);
    return undefined;
  }
  const { nextLine, socket } = await start(t, program, options);
  const session = joinSocket(socket, { role: options.role, ...options.session });
  return {
    session,
    gone: once(socket, 'close'),
    finish: async () => {
      session.close();
      socket.end();
      return JSON.parse(await nextLine()) as GoResult;
    },
  };
}

/** A session over a socket, which it ends when it is over. */
function joinSocket(socket: Socket, options: Partial<MuxSessionOptions> & Pick<MuxSessionOptions, 'role'>): MuxSession {
  const transport = {
    headroomBytes: 0,
    batchBytes: BATCH_BYTES,
    send: (batch: Buffer) => void socket.write(batch, () => session.sent()),
  };
  const limits = { maxStreams: 4096, maxWindowBytes: 16 << 20, windowBudget: new WindowBudget(64 << 20) };
  const session: MuxSession = new MuxSession(transport, { ...limits, onClose: () => {}, ...options });
  socket.on('data', (chunk) => session.receive(chunk));
  socket.on('close', () => session.transportClosed(new TunnelError('LINK_LOST', 'The Go peer is gone')));
  return session;
}

async function start(t: TestContext, program: string, options: GoPeerOptions) {
  const role = options.role === 'client' ? 'server' : 'client';
  const streams = ['-streams', String(options.opens ?? 0), '-bytes', String(options.bytes ?? 0)];
  const args = ['-role', role, '-mode', options.mode, ...streams];
  return options.listens ? startListening(t, program, args) : startDialing(t, program, args);
}

async function startListening(t: TestContext, program: string, args: readonly string[]) {
  const nextLine = run(t, program, ['-listen', ...args]);
  const [host = '', port] = (await nextLine()).split(':');
  const socket = connect({ host, port: Number(port), noDelay: true });
  await once(socket, 'connect');
  return { nextLine, socket };
}

async function startDialing(t: TestContext, program: string, args: readonly string[]) {
  const server = createServer({ noDelay: true });
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const nextLine = run(t, program, ['-dial', `127.0.0.1:${(server.address() as AddressInfo).port}`, ...args]);
  const [socket] = (await once(server, 'connection')) as [Socket];
  return { nextLine, socket };
}

/** Starts the program; returns what waits for its next line. Reads at once: Node drops what nobody reads at the exit. */
function run(t: TestContext, program: string, args: readonly string[]): () => Promise<string> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => void child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async () => (await lines.next()).value ?? assert.fail('the Go program ended without its line');
}

/** Path of the program; an error when its one module cannot be had (no network). Wrong Go code throws. */
async function build(go: string): Promise<string | TunnelError> {
  const folder = mkdtempSync(path.join(tmpdir(), 'sallyport-go-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const env = { ...process.env, GOFLAGS: '-mod=readonly -buildvcs=false', GOTOOLCHAIN: 'local', CGO_ENABLED: '0' };
  const command = promisify(execFile);
  try {
    await command(go, ['mod', 'download'], { cwd: sources, env });
  } catch (cause) {
    return new TunnelError('INTERNAL', 'go cannot download github.com/hashicorp/yamux; connect to a Go module proxy', {
      cause,
    });
  }
  const program = path.join(folder, 'interop');
  await command(go, ['build', '-o', program, '.'], { cwd: sources, env });
  return program;
}
