/**
 * The hop: what the main process and a TLS worker say to each other about a visitor. Wire only, no I/O.
 *
 *   greeting   the first bytes of a visitor's connection between the two; behind it, its plaintext as it comes
 *   signal     on the one pipe that a worker has to the main process: how a visitor's connection ends
 *
 * An end of the plaintext means an orderly end. Everything else is a signal, which leaves before the connection is closed: a
 * unix socket has no reset, and a visitor must not take a response that was cut for one that is complete.
 */
import { TunnelError } from '../../shared/errors.js';

/** What the handshake of one visitor decided. */
export interface HopGreeting {
  /** Of the visitor, as the main process called it. */
  readonly id: number;
  /** The version of TLS, as Node names it. */
  readonly version: string;
  /** The protocol agreed on; '' for none. */
  readonly alpn: string;
  /** The exporter's value for links (RFC 5705); empty where nobody asked for it. */
  readonly exporter: Buffer;
}

/**
 * `ready`: the worker takes visitors (id 0). `failed`: its handshake did, `text` says why. `aborted`: one side's connection
 * was cut, so is the other's. `closed`, from the worker: the visitor's connection is gone; from the main process: it has
 * said all, and hears nothing more.
 */
export type SignalKind = 'ready' | 'failed' | 'aborted' | 'closed';

export interface Signal {
  readonly kind: SignalKind;
  readonly id: number;
  readonly text: string;
}

const KINDS: readonly SignalKind[] = ['ready', 'failed', 'aborted', 'closed'];
const ID_BYTES = 4;
/** A kind, an id, the length of the text. */
const SIGNAL_HEAD_BYTES = 1 + ID_BYTES + 1;
/** One byte says how long a text is. */
const MAX_TEXT_BYTES = 255;

/** The greeting as it is sent. */
export function greetingBytes({ id, version, alpn, exporter }: HopGreeting): Buffer {
  const head = Buffer.alloc(ID_BYTES);
  head.writeUInt32BE(id);
  const fields = [Buffer.from(version, 'latin1'), Buffer.from(alpn, 'latin1'), exporter];
  return Buffer.concat([head, ...fields.flatMap((field) => [Buffer.from([field.length]), field])]);
}

/** Reads the greeting at the start of `bytes`; undefined while it is not complete. */
export function readGreeting(bytes: Buffer): { readonly value: HopGreeting; readonly usedBytes: number } | undefined {
  const fields: Buffer[] = [];
  let at = ID_BYTES;
  while (fields.length < 3) {
    const length = bytes[at];
    if (length === undefined || at + 1 + length > bytes.length) return undefined;
    fields.push(bytes.subarray(at + 1, at + 1 + length));
    at += 1 + length;
  }
  const [version, alpn, exporter = Buffer.alloc(0)] = fields;
  const texts = { version: version?.toString('latin1') ?? '', alpn: alpn?.toString('latin1') ?? '' };
  return { value: { id: bytes.readUInt32BE(0), ...texts, exporter: Buffer.from(exporter) }, usedBytes: at };
}

/** The signal as it is sent; a long text is cut. */
export function signalBytes(kind: SignalKind, id: number, text = ''): Buffer {
  const said = Buffer.from(text, 'latin1').subarray(0, MAX_TEXT_BYTES);
  const bytes = Buffer.alloc(SIGNAL_HEAD_BYTES + said.length);
  bytes.writeUInt8(KINDS.indexOf(kind), 0);
  bytes.writeUInt32BE(id, 1);
  bytes.writeUInt8(said.length, SIGNAL_HEAD_BYTES - 1);
  said.copy(bytes, SIGNAL_HEAD_BYTES);
  return bytes;
}

/** Takes signals out of the bytes of a pipe, split anywhere. Holds at most one signal. */
export class SignalReader {
  readonly #onSignal: (signal: Signal) => void;
  #rest = Buffer.alloc(0);

  constructor(onSignal: (signal: Signal) => void) {
    this.#onSignal = onSignal;
  }

  /** @throws {TunnelError} PROTOCOL_VIOLATION for a kind that does not exist. */
  read(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (;;) {
      const end = at + SIGNAL_HEAD_BYTES + (bytes[at + SIGNAL_HEAD_BYTES - 1] ?? MAX_TEXT_BYTES);
      if (at + SIGNAL_HEAD_BYTES > bytes.length || end > bytes.length) break;
      const kind = KINDS[bytes[at] ?? KINDS.length];
      if (kind === undefined) throw new TunnelError('PROTOCOL_VIOLATION', 'Cannot read signal: its kind is unknown');
      const text = bytes.toString('latin1', at + SIGNAL_HEAD_BYTES, end);
      this.#onSignal({ kind, id: bytes.readUInt32BE(at + 1), text });
      at = end;
    }
    this.#rest = Buffer.from(bytes.subarray(at));
  }
}
