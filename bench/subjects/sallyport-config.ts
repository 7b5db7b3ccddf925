/**
 * SallyportConfig: the configuration files of our own programs in the bench: what their verbs would write, with loopback
 * addresses, and limits only where a figure brings more visitors from one address than any real one would.
 */
import { type CertificatePaths, RELAY_HOST } from '../certificate.js';

/** Options of the section `limits`, by their names in relay.yaml. */
export type RelayLimits = Readonly<Record<string, string | number>>;

export interface RelayConfigOptions {
  readonly limits?: RelayLimits;
  /** As relay.yaml has it; its default when left out. */
  readonly workers?: number | 'auto';
}

/** The text of relay.yaml. */
export function relayConfig(port: number, { cert, key }: CertificatePaths, options: RelayConfigOptions = {}): string {
  const { limits = {}, workers } = options;
  const lines = Object.entries(limits).map(([name, value]) => `  ${name}: ${value}\n`);
  return `domain: ${RELAY_HOST}
listen: { https: "127.0.0.1:${port}", http: off, admin: off }
state_dir: state
http2: on
${workers === undefined ? '' : `workers: ${workers}\n`}tls:
  mode: files
  certificates:
    - { cert_file: ${cert}, key_file: ${key} }
${lines.length === 0 ? '' : `limits:\n${lines.join('')}`}`;
}

export interface TunnelConfigOptions {
  readonly relayPort: number;
  /** Where the link is dialled: the relay's port, or a line to it. */
  readonly linkPort: number;
  readonly caFile: string;
  readonly originPort: number;
  /** One tunnel each. */
  readonly hosts: readonly string[];
}

/** The text of tunnel.yaml. */
export function tunnelConfig({ relayPort, linkPort, caFile, originPort, hosts }: TunnelConfigOptions): string {
  const tunnels = hosts.map((host, index) => {
    return `  - { name: app${index}, host: ${host}, origin: "http://127.0.0.1:${originPort}" }\n`;
  });
  return `relay_url: https://${RELAY_HOST}:${relayPort}
relay_address: "127.0.0.1:${linkPort}"
relay_ca_file: ${caFile}
token_file: token
tunnels:
${tunnels.join('')}`;
}
