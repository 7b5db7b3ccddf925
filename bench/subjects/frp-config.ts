/**
 * FrpConfig: frp's configuration files, from its reference files frps_full_example.toml and frpc_full_example.toml (0.70).
 * What makes it fast is on (tcpMux, connections made in advance), its link is encrypted and verified as ours is, and it
 * logs as little as it can.
 */
import { type CertificatePaths, RELAY_HOST } from '../certificate.js';

export interface FrpsOptions {
  /** Where clients connect. */
  readonly bindPort: number;
  /** Where plain HTTP of visitors arrives … */
  readonly httpPort?: number;
  /** … or their TLS, which frps passes through. */
  readonly httpsPort?: number;
  readonly token: string;
  readonly certificate: CertificatePaths;
}

/** The text of frps.toml. */
export function frpsConfig({ bindPort, httpPort, httpsPort, token, certificate }: FrpsOptions): string {
  const ports = { vhostHTTPPort: httpPort, vhostHTTPSPort: httpsPort };
  const lines = Object.entries(ports).filter(([, port]) => port !== undefined);
  return `bindAddr = "127.0.0.1"
bindPort = ${bindPort}
proxyBindAddr = "127.0.0.1"
${lines.map(([name, port]) => `${name} = ${port}\n`).join('')}auth.method = "token"
auth.token = "${token}"
transport.tcpMux = true
transport.maxPoolCount = 5
transport.tls.force = true
transport.tls.certFile = "${certificate.cert}"
transport.tls.keyFile = "${certificate.key}"
log.to = "console"
log.level = "warn"
`;
}

export interface FrpcOptions {
  /** Where the server is reached. */
  readonly serverPort: number;
  readonly token: string;
  readonly certificate: CertificatePaths;
  readonly originPort: number;
  readonly hosts: readonly string[];
  /** Where the visitor's TLS ends: before frps, or in frpc by the plugin https2http. */
  readonly tlsEnds: 'before frps' | 'in frpc';
  /** Distinguishes many clients at one server. */
  readonly user?: string;
}

/** The text of frpc.toml. */
export function frpcConfig(options: FrpcOptions): string {
  const { serverPort, token, certificate, user } = options;
  return `serverAddr = "127.0.0.1"
serverPort = ${serverPort}
${user === undefined ? '' : `user = "${user}"\n`}loginFailExit = false
auth.method = "token"
auth.token = "${token}"
transport.protocol = "tcp"
transport.tcpMux = true
transport.poolCount = 5
transport.tls.enable = true
transport.tls.trustedCaFile = "${certificate.cert}"
transport.tls.serverName = "${RELAY_HOST}"
log.to = "console"
log.level = "info"
${options.tlsEnds === 'in frpc' ? httpsProxy(options) : httpProxy(options)}`;
}

function httpProxy({ hosts, originPort }: FrpcOptions): string {
  return `
[[proxies]]
name = "app"
type = "http"
localIP = "127.0.0.1"
localPort = ${originPort}
customDomains = ${JSON.stringify(hosts)}
`;
}

function httpsProxy({ hosts, originPort, certificate }: FrpcOptions): string {
  return `
[[proxies]]
name = "app"
type = "https"
customDomains = ${JSON.stringify(hosts)}
[proxies.plugin]
type = "https2http"
localAddr = "127.0.0.1:${originPort}"
crtPath = "${certificate.cert}"
keyPath = "${certificate.key}"
`;
}
