/**
 * CrowdClients: many clients of Sallyport in one process, each with its own session, links and tunnels, as five hundred
 * machines would have them. What a client of its own costs is not measured here, what it costs the relay is.
 *
 * Arguments: a tunnel.yaml with all tunnels, how many clients share them. Says `serving N`, tunnels, at every change.
 */
import { silentLog } from '../../shared/log.js';
import { Client, type ClientEvents } from '../../tunnel-client/client.js';
import { readTunnelConfig, type TunnelConfig } from '../../tunnel-client/tunnel-config.js';

const [configFile = '', count = ''] = process.argv.slice(2);
const config = readTunnelConfig(configFile);
const perClient = Math.ceil(config.tunnels.length / Number(count));
let serving = 0;

function say(change: number): void {
  serving += change;
  console.log(`serving ${serving}`);
}

const events: ClientEvents = {
  up: () => say(1),
  down: () => say(-1),
  denied: ({ name, message }) => {
    console.error(`denied ${name}: ${message}`);
    process.exit(1);
  },
  reconnecting: () => {},
  changed: () => {},
  certificate: () => {},
};

function configOf(index: number): TunnelConfig {
  return { ...config, tunnels: config.tunnels.slice(index * perClient, (index + 1) * perClient) };
}

const clients = Array.from({ length: Number(count) }, (_, index) => {
  const options = { config: configOf(index), clientId: `crowd-${index}`, once: false, log: silentLog, events };
  return new Client(options);
});
process.once('SIGTERM', () => process.exit());
await Promise.all(clients.map((client) => client.run()));
