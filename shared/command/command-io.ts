/**
 * Command I/O: decides how a verb talks to the person or script that typed it.
 *
 * `print` is what was asked for (stdout, for scripts), `note` is what helps a person beside it (stderr). A secret that is
 * typed is not echoed. Verbs receive this instead of `process`, so that a test can be the terminal.
 * Owns nothing. Owned by: the two main.ts.
 */
import { createInterface } from 'node:readline';
import { type Readable, Writable } from 'node:stream';
import { asTunnelError, TunnelError } from '../errors.js';
import { Secret } from '../secret.js';

export interface CommandIo {
  /** One line on stdout. */
  print(line: string): void;
  /** One line on stderr. */
  note(line: string): void;
  /** Whether a person can be asked. */
  readonly isTerminal: boolean;
  /** All of stdin, for `-`. @throws {TunnelError} USAGE_INVALID when it is larger than 64 KiB. */
  readInput(): Promise<Secret>;
  /** One line that the terminal does not show. @throws {TunnelError} USAGE_INVALID when the person gives up. */
  askSecret(question: string): Promise<Secret>;
}

const MAX_INPUT_BYTES = 64 * 1024;
/** 128 and the number of the signal, as shells tell it. */
const EXIT_SIGPIPE = 141;
/** EX_IOERR: a full disk, for instance. */
const EXIT_IO = 74;

/** The terminal or pipes of this process. */
export function processIo(): CommandIo {
  return {
    print: (line) => {
      if (!process.stdout.listeners('error').includes(endQuietly)) process.stdout.on('error', endQuietly);
      process.stdout.write(`${line}\n`);
    },
    note: (line) => void process.stderr.write(`${line}\n`),
    isTerminal: process.stdin.isTTY === true,
    readInput: () => readAll(process.stdin),
    askSecret: (question) => askWithoutEcho(question),
  };
}

/**
 * What `read` gives. What shared parsers refuse is wrong on the command line here, not in a file.
 * @throws {TunnelError} USAGE_INVALID with the message of whatever `read` throws.
 */
export function asUsage<Result>(read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    throw new TunnelError('USAGE_INVALID', asTunnelError(error).message, { cause: error });
  }
}

/** Whoever read stdout has gone (`relay status --watch | head`): we end as programs do that SIGPIPE ends. */
function endQuietly(error: NodeJS.ErrnoException): void {
  process.exit(error.code === 'EPIPE' ? EXIT_SIGPIPE : EXIT_IO);
}

/** Everything that `input` says until it ends. */
async function readAll(input: Readable): Promise<Secret> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of input) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > MAX_INPUT_BYTES) {
      throw new TunnelError('USAGE_INVALID', `Cannot read standard input: it is larger than ${MAX_INPUT_BYTES} bytes.`);
    }
  }
  return new Secret(Buffer.concat(chunks).toString('utf8'));
}

function askWithoutEcho(question: string): Promise<Secret> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  // As a terminal, readline takes over the echo, and its echo goes nowhere. It must have done so before anybody types.
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: true, historySize: 0 });
  process.stderr.write(question);
  const answer = new Promise<Secret>((resolve, reject) => {
    lines.once('line', (line) => {
      resolve(new Secret(line));
      lines.close();
    });
    lines.once('SIGINT', () => lines.close());
    lines.once('close', () => reject(new TunnelError('USAGE_INVALID', 'Cannot go on: nothing was entered.')));
  });
  return answer.finally(() => process.stderr.write('\n'));
}
