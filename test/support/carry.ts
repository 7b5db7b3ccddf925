/** What the tests of carried traffic share: a relay and a client with one tunnel, and visitors of it. */
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { Conversation } from './conversation.js';
import { runTool, type ToolOutput } from './tool-process.js';
import { RelayHome, type RelayWorldOptions, type RunningRelay } from './world.js';

/** The tunnel's public hostname. */
export const APP = 'app.relay.localhost';

export interface AppTunnelOptions extends RelayWorldOptions {
  /** More keys of the tunnel, such as `host_header: x`. */
  readonly tunnel?: string;
}

/** A relay and a client in this process with one tunnel from APP to `origin`. */
export async function startAppTunnel(
  t: TestContext,
  origin: string,
  options: AppTunnelOptions = {},
): Promise<RunningRelay> {
  const relay = await new RelayHome(t, options).start(t);
  await relay.client(t, [appTunnel(origin, options.tunnel)]);
  return relay;
}

/** The tunnel of APP as it stands in tunnel.yaml. */
export function appTunnel(origin: string, more = ''): string {
  return `{ name: app, host: ${APP}, origin: "${origin}"${more === '' ? '' : `, ${more}`} }`;
}

/** A TLS connection to the relay, ready to speak. */
export async function connectVisitor(
  t: Pick<TestContext, 'after'>,
  relay: RunningRelay,
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  const where = { host: '127.0.0.1', port: relay.port('https'), servername: APP, ca: relay.home.ca };
  // Node reads allowHalfOpen here, its types do not know it.
  const asked = { ...where, allowHalfOpen: true, ...options };
  const socket = connect(asked);
  t.after(() => void socket.destroy());
  await once(socket, 'secureConnect');
  // A relay that ends before its visitors do may reset them; whoever cares for the end listens himself.
  socket.on('error', () => {});
  return socket;
}

/** The same, for tests that say every byte themselves. */
export async function talkToRelay(
  t: Pick<TestContext, 'after'>,
  relay: RunningRelay,
  options: ConnectionOptions = {},
): Promise<Conversation> {
  return new Conversation(await connectVisitor(t, relay, options));
}

/** curl with the relay's CA and APP on loopback; what it prints is its answer. */
export function runCurl(
  t: Pick<TestContext, 'after'>,
  curl: string,
  relay: RunningRelay,
  args: readonly string[],
  input?: string | Buffer,
): Promise<ToolOutput> {
  return runTool(t, curl, [...curlOptions(relay), ...args], input);
}

/** What every call of curl needs. */
export function curlOptions(relay: RunningRelay): string[] {
  const here = `${APP}:${relay.port('https')}:127.0.0.1`;
  // -q first: no ~/.curlrc, no proxies.
  return ['-q', '--noproxy', '*', '-sS', '--max-time', '50', '--cacert', relay.home.caFile, '--resolve', here];
}

/** The public URL of a path. */
export function appUrl(relay: RunningRelay, path: string): string {
  return `https://${APP}:${relay.port('https')}${path}`;
}
