/**
 * ConnectThrough: asks an HTTP proxy for a connection to the relay (CONNECT, RFC 9110 §9.3.6) and hands over the socket.
 *
 *   connecting → asking → connected | failed
 *
 * The proxy is a stranger: its answer's head is bounded in size and time, nothing of it is trusted but the status, and
 * bytes behind the head are a violation, because in TLS the client speaks first. The login is sent to the proxy alone and
 * stands in no message.
 *
 * Owns: the socket and one timer until it hands the socket over. Owned by: dial-relay.ts.
 */
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type Address, formatAddress } from '../../shared/address.js';
import { TunnelError } from '../../shared/errors.js';
import { AGENT } from '../../shared/version.js';
import { type LinkProxy, proxyText } from './link-proxy.js';

export interface ConnectThroughOptions {
  readonly proxy: LinkProxy;
  /** The relay, as the proxy shall reach it: a name is the proxy's to resolve. */
  readonly target: Address;
  /** For all of it, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const MAX_HEAD_BYTES = 16 * 1024;
const END_OF_HEAD = '\r\n\r\n';
const STATUS_LINE = /^HTTP\/1\.[01] (\d{3})(?: |\r\n)/;

/** What people can do about a status, where there is more to say than its number. */
const CURES: ReadonlyMap<number, string> = new Map([
  [403, 'It does not allow this destination: ask its operator to allow CONNECT to the relay, or take port 443.'],
  [407, 'It wants a user name and password: write them under proxy_login, or in the URL of the variable.'],
  [502, 'It cannot reach the relay: check that the relay runs, and what the proxy may reach.'],
  [503, 'It cannot reach the relay: check that the relay runs, and what the proxy may reach.'],
  [504, 'The relay does not answer it: check that the relay runs, and what the proxy may reach.'],
]);

/**
 * A connection to `target` through the proxy, with nothing read from it yet.
 * @throws {TunnelError} LINK_LOST; says what the proxy did and what to do.
 */
export function connectThrough(options: ConnectThroughOptions): Promise<Socket> {
  return new Promise((resolve, reject) => new ProxyDial(options, resolve, reject).start());
}

class ProxyDial {
  readonly #options: ConnectThroughOptions;
  readonly #resolve: (socket: Socket) => void;
  readonly #reject: (error: TunnelError) => void;
  readonly #socket: Socket;
  #timer: NodeJS.Timeout | undefined;
  #head = '';
  #state: 'connecting' | 'asking' | 'over' = 'connecting';

  constructor(options: ConnectThroughOptions, resolve: (socket: Socket) => void, reject: (error: TunnelError) => void) {
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#socket = connectProxy(options.proxy);
  }

  start(): void {
    const { timeoutMs, signal, proxy } = this.#options;
    this.#timer = setTimeout(() => this.#fail(`no answer in ${timeoutMs} ms. Check that it runs`), timeoutMs);
    signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#socket.once(proxy.tls ? 'secureConnect' : 'connect', this.#onConnected);
    this.#socket.on('data', this.#onData);
    this.#socket.on('error', this.#onError);
    this.#socket.on('close', this.#onClose);
    if (signal.aborted) this.#onAbort();
  }

  readonly #onConnected = (): void => {
    const { target, proxy } = this.#options;
    this.#state = 'asking';
    const place = formatAddress(target);
    const login = proxy.login === undefined ? '' : `Proxy-Authorization: Basic ${basic(proxy.login.reveal())}\r\n`;
    this.#socket.write(`CONNECT ${place} HTTP/1.1\r\nHost: ${place}\r\nUser-Agent: ${AGENT}\r\n${login}\r\n`);
  };

  readonly #onData = (chunk: Buffer): void => {
    const from = Math.max(0, this.#head.length - END_OF_HEAD.length);
    this.#head += chunk.toString('latin1');
    const end = this.#head.indexOf(END_OF_HEAD, from);
    if (end < 0 && this.#head.length <= MAX_HEAD_BYTES) return;
    if (end < 0 || end > MAX_HEAD_BYTES) this.#fail(`its answer is longer than ${MAX_HEAD_BYTES} bytes`);
    else this.#judge(this.#head.slice(0, end + END_OF_HEAD.length), this.#head.length > end + END_OF_HEAD.length);
  };

  #judge(head: string, hasMore: boolean): void {
    const status = Number(STATUS_LINE.exec(head)?.[1] ?? 0);
    if (status === 0) this.#fail('its answer is no HTTP. Check the address of the proxy');
    else if (status < 200 || status > 299)
      this.#fail(`it answered ${status}. ${CURES.get(status) ?? 'Look at its log.'}`);
    else if (hasMore) this.#fail('it sent bytes of its own into the connection');
    else this.#handOver();
  }

  #handOver(): void {
    if (!this.#end()) return;
    this.#socket.pause();
    this.#resolve(this.#socket);
  }

  readonly #onError = ({ code = 'connection failed' }: NodeJS.ErrnoException): void =>
    this.#fail(code === 'ECONNREFUSED' ? `nothing listens there (${code})` : code);
  readonly #onClose = (): void => this.#fail('it hung up');
  readonly #onAbort = (): void => this.#fail('stopped');

  #fail(why: string): void {
    if (!this.#end()) return;
    this.#socket.on('error', () => {});
    this.#socket.destroy();
    const { proxy } = this.#options;
    // The network of this machine is not the cure here: what has none of its own gets one that names the proxy.
    const cure = why.includes('. ') ? '' : `. Mend the proxy, or correct ${proxy.from}`;
    const message = `Cannot reach the relay through proxy ${proxyText(proxy)}: ${why}${cure}`;
    this.#reject(new TunnelError('LINK_LOST', message.replace(/\.?$/, '.')));
  }

  /** True once: nothing of this dial listens any more. */
  #end(): boolean {
    if (this.#state === 'over') return false;
    this.#state = 'over';
    clearTimeout(this.#timer);
    this.#options.signal.removeEventListener('abort', this.#onAbort);
    this.#socket.off('connect', this.#onConnected).off('secureConnect', this.#onConnected);
    this.#socket.off('data', this.#onData).off('error', this.#onError).off('close', this.#onClose);
    return true;
  }
}

function connectProxy({ address, tls }: LinkProxy): Socket {
  if (!tls) return connect({ ...address, noDelay: true });
  const servername = isIP(address.host) === 0 ? { servername: address.host } : {};
  return connectTls({ ...address, ...servername, minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] });
}

/** RFC 7617. */
function basic(login: string): string {
  return Buffer.from(login, 'utf8').toString('base64');
}
