/**
 * RatholeConfig: rathole's configuration files, from its README and docs/transport.md (0.5): its link over TLS, as ours is.
 */
import { RELAY_HOST } from '../certificate.js';

export interface RatholeServerOptions {
  /** Where the client connects. */
  readonly bindPort: number;
  /** Where the service appears. */
  readonly servicePort: number;
  readonly token: string;
  readonly pkcs12File: string;
  readonly pkcs12Password: string;
}

/** The text of server.toml. */
export function ratholeServerConfig(options: RatholeServerOptions): string {
  return `[server]
bind_addr = "127.0.0.1:${options.bindPort}"

[server.transport]
type = "tls"

[server.transport.tls]
pkcs12 = "${options.pkcs12File}"
pkcs12_password = "${options.pkcs12Password}"

[server.services.app]
token = "${options.token}"
bind_addr = "127.0.0.1:${options.servicePort}"
`;
}

export interface RatholeClientOptions {
  /** Where the server is reached. */
  readonly serverPort: number;
  readonly originPort: number;
  readonly token: string;
  readonly caFile: string;
}

/** The text of client.toml. */
export function ratholeClientConfig(options: RatholeClientOptions): string {
  return `[client]
remote_addr = "127.0.0.1:${options.serverPort}"

[client.transport]
type = "tls"

[client.transport.tls]
trusted_root = "${options.caFile}"
hostname = "${RELAY_HOST}"

[client.services.app]
token = "${options.token}"
local_addr = "127.0.0.1:${options.originPort}"
`;
}
