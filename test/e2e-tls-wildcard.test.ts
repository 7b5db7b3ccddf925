/** A wildcard whose TLS ends at home: its certificate comes by dns-01, and serves every name below it. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { caNameOf } from '../shared/certs/account-store.js';
import type { DnsSigningKey } from '../shared/certs/dns-signature.js';
import { Secret } from '../shared/secret.js';
import { startTestDns } from './support/acme-dns.js';
import { acmeTunnel, acmeYaml, startAcmeHome } from './support/acme-home.js';
import { ordersAt } from './support/acme-world.js';
import { ZoneServer } from './support/acme-zone-server.js';
import { visitHome } from './support/home-visitor.js';
import { startHttpOrigin } from './support/origins.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { within } from './support/within.js';
import { DOMAIN, startRelayProcess, startTunnelProcess } from './support/world.js';

const WILDCARD = `*.${DOMAIN}`;
const key: DnsSigningKey = { name: 'acme-key', secret: new Secret(Buffer.alloc(32, 7).toString('base64')) };

/** Relay and client as processes; what is below the wildcard is served with the certificate that came by `dns`. */
async function proveWildcard(t: TestContext, dns: { readonly server: string; readonly acme: string }): Promise<void> {
  const world = await startAcmeHome(t, { dnsServer: dns.server });
  if (world === undefined) return;
  const { pebble, home, httpsPort, stateDir } = world;
  const origin = await startHttpOrigin(t, (request, response) => response.end(`home of ${request.headers.host}`));
  await startRelayProcess(t, home);
  const yaml = acmeYaml(pebble, stateDir, `dns: { ${dns.acme}, resolvers: ["${dns.server}"] }`);
  const tunnel = await startTunnelProcess(t, httpsPort, home, [acmeTunnel(origin.url, WILDCARD)], { yaml });
  const valid = JSON.parse(await within('certificate', tunnel.line('"name":"vault","state":"valid"')));
  assert.equal(valid.host, WILDCARD);
  const root = await pebble.root();
  for (const host of [`one.${DOMAIN}`, `two.${DOMAIN}`]) {
    assert.equal((await visitHome(httpsPort, root, '/', host)).body, `home of ${host}`);
  }
  const folder = join(stateDir, 'certificates', caNameOf(pebble.directoryUrl));
  assert.deepEqual(readdirSync(folder), [`_wildcard.${DOMAIN}`]);
  const chain = readFileSync(join(folder, `_wildcard.${DOMAIN}`, 'fullchain.pem'));
  assert.equal(new X509Certificate(chain).subjectAltName, `DNS:${WILDCARD}`);
  assert.equal(ordersAt(pebble), 1);
  const made = readdirSync(join(home.config.stateDir, 'local-ca', 'certs'));
  assert.deepEqual(made, [`${DOMAIN}.pem`], 'the relay made none below its own name');
}

test('by a program that writes the record', { timeout: 60_000 }, async (t) => {
  const dns = await startTestDns(t);
  if (dns === undefined) return;
  await proveWildcard(t, { server: dns.server, acme: `command: "${dns.hook}"` });
});

test('by a signed update of the zone, which is left as it was', { timeout: 60_000 }, async (t) => {
  const zone = await ZoneServer.start(t, DOMAIN, key);
  const server = `127.0.0.1:${zone.port}`;
  const keyFile = join(temporaryFolder(t), 'key');
  writeFileSync(keyFile, key.secret.reveal(), { mode: 0o600 });
  await proveWildcard(t, { server, acme: `server: "${server}", key_name: ${key.name}, key_file: ${keyFile}` });
  const name = `_acme-challenge.${DOMAIN}`;
  assert.deepEqual(zone.changes, [`add ${name}`, `remove ${name}`]);
});
