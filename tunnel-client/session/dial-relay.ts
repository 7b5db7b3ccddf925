/**
 * DialRelay: opens one link to the relay and runs the client's half of the handshake (shared/messages.ts).
 *
 * The proof signs what this end saw: the relay's name, its nonce, and the exporter of this TLS connection, so that it is
 * of no use to anybody in between.
 */
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { asTunnelError, TunnelError } from '../../shared/errors.js';
import { dialLink, type Link, type LinkHandler } from '../../shared/link.js';
import { type Challenge, PROTOCOL_VERSION, readRelayMessage, type Welcome } from '../../shared/messages.js';
import { printable } from '../../shared/printable.js';
import { proofPayload, type Token } from '../../shared/token.js';
import { AGENT } from '../../shared/version.js';
import { connectThrough } from '../proxy/connect-through.js';
import { linkProxy, relayAddressOf } from '../proxy/link-proxy.js';
import type { TunnelConfig } from '../tunnel-config.js';
import { linkFailure } from './link-failure.js';

export interface DialRelayOptions {
  readonly config: TunnelConfig;
  readonly token: Token;
  readonly clientId: string;
  /** The session to join; '' begins a new one. */
  readonly sessionId: string;
  readonly signal: AbortSignal;
  /** The connection is open and the handshake begins. */
  readonly onConnected?: () => void;
}

export interface WelcomedLink {
  readonly link: Link;
  readonly welcome: Welcome;
}

/** Rejects with LINK_LOST, HANDSHAKE_TIMEOUT, TOKEN_REJECTED, VERSION_UNSUPPORTED … as the relay says. */
export async function dialRelay(options: DialRelayOptions): Promise<WelcomedLink> {
  const link = await openRelayLink(options.config, options.signal);
  options.onConnected?.();
  try {
    return { link, welcome: await new ClientHandshake(link, options).run() };
  } catch (error) {
    const failure = asTunnelError(error);
    link.close(failure.code, failure.message);
    throw failure;
  }
}

/**
 * A link before its handshake, through the proxy where there is one.
 * @throws {TunnelError} LINK_LOST; CONFIG_INVALID for a proxy variable that names none.
 */
export async function openRelayLink(config: TunnelConfig, signal: AbortSignal): Promise<Link> {
  const beganAtMs = performance.now();
  const proxy = linkProxy(config);
  const target = relayAddressOf(config);
  const through = proxy && (await connectThrough({ proxy, target, timeoutMs: config.dialMs, signal }));
  let issuer: string | undefined;
  const connected = () => {
    const socket = connectRelay(config, through);
    if ('encrypted' in socket)
      onCertificate(socket as TLSSocket, (name) => {
        issuer = name;
      });
    return socket;
  };
  try {
    return await dialLink({
      url: config.relayUrl,
      connect: connected,
      timeoutMs: Math.max(1, Math.round(config.dialMs - (performance.now() - beganAtMs))),
      agent: AGENT,
      signal,
    });
  } catch (error) {
    throw linkFailure(asTunnelError(error), { name: config.relayUrl.hostname, address: target, issuer });
  }
}

/** Node destroys a socket whose certificate is not trusted; only before that can one ask who signed it. */
function onCertificate(socket: TLSSocket, tell: (issuer: string) => void): void {
  socket.prependOnceListener('secure', () => {
    const { issuer } = socket.getPeerCertificate();
    const name = issuer?.CN ?? issuer?.O;
    if (name !== undefined) tell(printable(String(name)));
  });
}

/** TLS to the relay's name, at `relay_address` when that is set; the system's CAs unless the config names one. */
function connectRelay(config: TunnelConfig, through: Socket | undefined): Socket {
  const { relayUrl, relayCa } = config;
  if (relayUrl.protocol !== 'https:') return connect(relayAddressOf(config));
  return connectTls({
    ...(through === undefined ? relayAddressOf(config) : { socket: through }),
    servername: relayUrl.hostname.replace(/^\[|\]$/g, ''),
    ALPNProtocols: ['http/1.1'],
    minVersion: 'TLSv1.2',
    // AES-128 first: it protects as well for our purpose and costs the least CPU per byte at both ends.
    ciphers: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:ECDHE+AESGCM:ECDHE+CHACHA20',
    ...(relayCa === undefined ? {} : { ca: relayCa }),
  });
}

class ClientHandshake implements LinkHandler {
  readonly #link: Link;
  readonly #options: DialRelayOptions;
  readonly #welcome: Promise<Welcome>;
  #resolve: (welcome: Welcome) => void = () => {};
  #reject: (error: TunnelError) => void = () => {};
  #state: 'challenge' | 'welcome' | 'over' = 'challenge';

  constructor(link: Link, options: DialRelayOptions) {
    this.#link = link;
    this.#options = options;
    this.#welcome = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    link.handler = this;
  }

  async run(): Promise<Welcome> {
    const { config, signal } = this.#options;
    const timer = setTimeout(() => {
      this.#fail(new TunnelError('HANDSHAKE_TIMEOUT', 'Cannot open link: the relay did not finish the handshake'));
    }, config.dialMs);
    const onAbort = () => this.#fail(new TunnelError('LINK_LOST', 'Cannot open link: stopped'));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await this.#welcome;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  onMessage(text: string): void {
    try {
      this.#read(text);
    } catch (error) {
      this.#fail(asTunnelError(error));
    }
  }

  onBytes(): void {
    this.#fail(new TunnelError('PROTOCOL_VIOLATION', 'Cannot open link: the relay sent bytes before its welcome'));
  }

  onSent(): void {}

  onClose(error: TunnelError): void {
    this.#fail(error);
  }

  #read(text: string): void {
    const message = readRelayMessage(text);
    if (message.type === 'refused') throw new TunnelError(message.code, message.message);
    if (message.type === 'challenge' && this.#state === 'challenge') this.#prove(message);
    else if (message.type === 'welcome' && this.#state === 'welcome') this.#finish(message);
    else throw new TunnelError('PROTOCOL_VIOLATION', `Cannot open link: unexpected message ${message.type}`);
  }

  #prove(challenge: Challenge): void {
    if (challenge.version !== PROTOCOL_VERSION) {
      const versions = `the relay speaks protocol ${challenge.version}, this client ${PROTOCOL_VERSION}`;
      throw new TunnelError('VERSION_UNSUPPORTED', `Cannot open link: ${versions}. Update the older one.`);
    }
    this.#state = 'welcome';
    const { token, clientId, sessionId, config } = this.#options;
    const exporter = this.#link.exporter();
    // The name that we dialled, not the one that the challenge claims: a proof must not be passed on to another relay.
    const relay = config.relayUrl.hostname;
    const nonce = Buffer.from(challenge.nonce, 'base64url');
    const payload = proofPayload({ relay, nonce, tokenId: token.id, clientId, sessionId, exporter });
    this.#link.sendMessage({
      type: 'proof',
      version: PROTOCOL_VERSION,
      tokenId: token.id,
      clientId,
      sessionId,
      exporter: exporter.toString('base64url'),
      signature: token.sign(payload).toString('base64url'),
      agent: AGENT,
    });
  }

  #finish(welcome: Welcome): void {
    this.#state = 'over';
    this.#link.handler = undefined; // What follows the welcome waits for the session.
    this.#resolve(welcome);
  }

  #fail(error: TunnelError): void {
    this.#state = 'over';
    this.#reject(error);
  }
}
