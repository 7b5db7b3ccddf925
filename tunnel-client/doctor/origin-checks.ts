/**
 * OriginChecks: whether the apps behind the tunnels answer, and whether they also answer when a proxy tells them who the
 * visitor is. Home Assistant, for one, answers 400 to requests with X-Forwarded-For from an address that it does not
 * trust, and its page does not say why.
 */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Finding, fail, pass, skip } from '../../shared/doctor/check.js';
import { reasonOf } from '../../shared/doctor/reach.js';
import { asTunnelError } from '../../shared/errors.js';
import { originProxyHeader, readOpening, writeOpening } from '../../shared/opening.js';
import { stateAndCure } from '../cures.js';
import { dialOrigin } from '../origin/dial-origin.js';
import type { TunnelSpec } from '../tunnel-config.js';

const DIAL_MS = 5_000;
const ANSWER_MS = 10_000;
const MAX_HEAD_BYTES = 64 * 1024;
/** A visitor of the block for documentation (RFC 5737): no app can know it. */
const VISITOR = '203.0.113.1';

/** Connects as the client does: TLS and PROXY header included. */
export async function checkOrigin(tunnel: TunnelSpec): Promise<Finding> {
  try {
    const beganAtMs = performance.now();
    (await dial(tunnel)).destroy();
    return pass(`${tunnel.origin.text} answers in ${Math.round(performance.now() - beganAtMs)} ms`);
  } catch (error) {
    const { code, message } = asTunnelError(error);
    const { state, cure = 'Look at the app.' } = stateAndCure(code, message);
    return fail(code, state, cure);
  }
}

/** Asks for `/` twice, without and with the fields that the relay adds. */
export async function checkForwarding(tunnel: TunnelSpec, signal: AbortSignal): Promise<Finding> {
  if (tunnel.host === undefined || tunnel.tls === 'passthrough') return skip('its origin gets no request fields');
  const plain = await ask(tunnel, {}, signal).catch((error: unknown) => reasonOf(error));
  if (typeof plain === 'string') return skip(`the app gave no answer to a plain request: ${plain}`);
  const forwarded = { 'X-Forwarded-For': VISITOR, 'X-Forwarded-Proto': 'https', 'X-Real-IP': VISITOR };
  const proxied = await ask(tunnel, forwarded, signal).catch((error: unknown) => reasonOf(error));
  const answer = typeof proxied === 'string' ? proxied : proxied.status;
  const isTrap = typeof proxied === 'string' || (proxied.status >= 400 && proxied.status !== plain.status);
  if (!isTrap) return pass(`the app answers ${answer} to forwarded visitors`);
  const found = `the app answers ${plain.status} to a plain request, and ${answer} to one with X-Forwarded-For`;
  return fail('ORIGIN_INVALID', found, trustCure(answer, plain.from));
}

/** `from` is how the app sees this client. */
function trustCure(answer: number | string, from: string): string {
  const app = `Tell the app to trust the address of this client as a proxy: ${from}`;
  if (answer !== 400) return app;
  return [
    `${app}. In Home Assistant, write into configuration.yaml and restart it:`,
    'http:',
    '  use_x_forwarded_for: true',
    '  trusted_proxies:',
    `    - ${from}`,
  ].join('\n');
}

async function ask(
  tunnel: TunnelSpec,
  fields: Readonly<Record<string, string>>,
  outer: AbortSignal,
): Promise<{ status: number; from: string }> {
  const signal = AbortSignal.any([outer, AbortSignal.timeout(ANSWER_MS)]);
  const socket = await dial(tunnel);
  try {
    const address = socket instanceof Socket ? socket.localAddress : undefined;
    const from = (address ?? '').replace(/^::ffff:/, '') || '127.0.0.1';
    const asked = request({
      path: '/',
      headers: { Host: tunnel.hostHeader ?? visited(tunnel), ...fields, Connection: 'close' },
      createConnection: () => socket,
      maxHeaderSize: MAX_HEAD_BYTES,
      signal,
    });
    asked.on('error', ignore);
    asked.end();
    const [response] = (await once(asked, 'response', { signal })) as [IncomingMessage];
    response.on('error', ignore);
    return { status: response.statusCode ?? 0, from };
  } finally {
    socket.destroy();
  }
}

/** A hostname that visitors could ask for. */
function visited({ host = '' }: TunnelSpec): string {
  return host.replace(/^\*/, 'doctor');
}

function dial(tunnel: TunnelSpec): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    dialOrigin({
      target: tunnel.origin,
      timeoutMs: DIAL_MS,
      preamble: proxyHeaderOf(tunnel),
      serverName: visited(tunnel),
      onOpen: (socket) => {
        socket.on('error', ignore);
        resolve(socket);
      },
      onFail: reject,
    });
  });
}

/** An app that asks for PROXY protocol hangs up without. */
function proxyHeaderOf(tunnel: TunnelSpec): Buffer | undefined {
  if (tunnel.proxyProtocol === undefined) return undefined;
  const visit = { visitorAddress: VISITOR, visitorPort: 1, publicAddress: VISITOR, publicPort: 443 };
  const texts = { tunnel: tunnel.name, authority: visited(tunnel), alpn: 'http/1.1', tlsVersion: '', id: '' };
  const read = readOpening(writeOpening({ ...visit, ...texts }));
  return read.kind === 'more' ? undefined : originProxyHeader(read.header, tunnel.proxyProtocol);
}

function ignore(): void {}
