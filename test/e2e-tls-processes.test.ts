/** End-to-end tunnels as somebody at home has them: `tunnel up TARGET --tls …`, `tunnel status`, and what answers carry. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createServer } from 'node:tls';
import { freePort } from '../bench/free-port.js';
import { CertificateStore, IMPORTED_CA } from '../shared/certs/certificate-store.js';
import { Secret } from '../shared/secret.js';
import { acmeTunnel, startAcmeHome } from './support/acme-home.js';
import { homeCertificate, VAULT, vaultTunnel } from './support/home-tls.js';
import { visitHome } from './support/home-visitor.js';
import { endConnections, listen, startHttpOrigin } from './support/origins.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';
import { within } from './support/within.js';
import {
  RelayHome,
  RunningProgram,
  startRelayProcess,
  startTunnelProcess,
  TUNNEL_PROGRAM,
  writeTunnelConfig,
} from './support/world.js';

const HSTS = 'strict-transport-security';
const fromHome = (t: TestContext) => startHttpOrigin(t, (_request, response) => response.end('from home'));

/** The folders of one user, whose own tunnel.yaml names relay, token and CA, and no tunnel. */
function userOf(t: TestContext, port: number, home: RelayHome, yaml = ''): NodeJS.ProcessEnv {
  const folder = temporaryFolder(t);
  const place = join(folder, 'config', 'sallyport');
  mkdirSync(place, { recursive: true });
  writeTunnelConfig(place, port, home, [], { yaml });
  const run = join(folder, 'run');
  mkdirSync(run, { mode: 0o700 });
  return {
    HOME: folder,
    XDG_CONFIG_HOME: join(folder, 'config'),
    XDG_STATE_HOME: join(folder, 'state'),
    XDG_RUNTIME_DIR: run,
  };
}

const tunnelVerb = (t: TestContext, env: NodeJS.ProcessEnv, ...args: string[]) =>
  new RunningProgram(t, TUNNEL_PROGRAM, args, env);

/** Everything that a verb prints until it ends. */
async function printed(t: TestContext, env: NodeJS.ProcessEnv, ...args: string[]): Promise<string> {
  const program = tunnelVerb(t, env, ...args);
  assert.equal(await within(args.join(' '), program.exited), 0, program.lines.join('\n'));
  await program.line('');
  return program.lines.join('\n');
}

test('tunnel up PORT --host --tls end-to-end gets a certificate, and tunnel status tells of it', {
  timeout: 60_000,
}, async (t) => {
  const world = await startAcmeHome(t);
  if (world === undefined) return;
  const { pebble, home, httpsPort } = world;
  const origin = await fromHome(t);
  await startRelayProcess(t, home);
  const [, acme = ''] = world.yaml.split('\n');
  const env = userOf(t, httpsPort, home, acme);
  const up = tunnelVerb(t, env, 'up', String(origin.port), '--host', VAULT, '--tls', 'end-to-end');
  await within('certificate', up.line(`vault has a certificate for ${VAULT} until `));
  const { body, headers } = await visitHome(httpsPort, await pebble.root());
  assert.deepEqual([body, headers[HSTS]], ['from home', 'max-age=31536000']);

  const { clients } = JSON.parse(await printed(t, env, 'status', '--json'));
  assert.equal(clients.length, 1);
  const [{ name, tls, url, state, certificate }] = clients[0].tunnels;
  assert.deepEqual([name, tls, url, state], ['vault', 'end-to-end', `https://${VAULT}:${httpsPort}`, 'online']);
  const { state: ready, issuer, notAfterMs, renewAtMs, caa, lastError } = certificate;
  assert.deepEqual([ready, caa, lastError], ['valid', [], undefined]);
  assert.equal(issuer, `localhost-${pebble.port}-dir`);
  assert.ok(Date.now() < renewAtMs && renewAtMs < notAfterMs);
  const day = new Date(notAfterMs).toISOString().slice(0, 10);
  const text = await printed(t, env, 'status');
  assert.match(text, /vault +online +https:\/\/vault\.relay\.localhost:\d+ +http:\/\/127\.0\.0\.1:\d+ +end-to-end/);
  assert.match(text, new RegExp(`^  vault: certificate valid until ${day}, from ${issuer}$`, 'm'));
  const account = join(String(env.XDG_STATE_HOME), 'sallyport', 'accounts', issuer, 'account.json');
  assert.match(readFileSync(account, 'utf8'), /my-account/);
});

test('while the CA is away tunnel status names the reason and the next attempt', { timeout: 60_000 }, async (t) => {
  const world = await startAcmeHome(t);
  if (world === undefined) return;
  const { pebble, home, httpsPort } = world;
  pebble.process.child.kill('SIGKILL');
  await pebble.process.closed;
  await startRelayProcess(t, home);
  const [, acme = ''] = world.yaml.split('\n');
  const env = userOf(t, httpsPort, home, acme);
  const up = tunnelVerb(t, env, 'up', '9', '--host', VAULT, '--tls', 'end-to-end', '--json');
  await within('failure', up.line('"state":"failed"'));
  const { certificate } = JSON.parse(await printed(t, env, 'status', '--json')).clients[0].tunnels[0];
  assert.equal(certificate.state, 'waiting');
  assert.match(certificate.lastError, /Cannot reach the CA at localhost/);
  assert.ok(certificate.retryAtMs > Date.now());
  assert.match(
    await printed(t, env, 'status'),
    /^ {2}vault: no certificate: .*Cannot reach the CA at localhost.* Next attempt in \d+/m,
  );
});

test('tunnel up PORT --host --tls passthrough leaves TLS to the origin', { timeout: 60_000 }, async (t) => {
  const { ca, certFile, keyFile } = await homeCertificate(t);
  const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nbehind';
  const origin = createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) }, (socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(answer));
  });
  endConnections(t, origin);
  const port = await listen(t, origin);
  const home = new RelayHome(t, { httpsPort: await freePort() });
  const { https } = await startRelayProcess(t, home);
  const env = userOf(t, https, home);
  const up = tunnelVerb(t, env, 'up', String(port), '--host', VAULT, '--tls', 'passthrough');
  await within('tunnel', up.line(`vault is up: https://${VAULT}:${https}`));
  const { body, headers } = await visitHome(https, ca);
  assert.deepEqual([body, headers[HSTS]], ['behind', undefined]);
  const [tunnel] = JSON.parse(await printed(t, env, 'status', '--json')).clients[0].tunnels;
  assert.deepEqual([tunnel.tls, tunnel.certificate], ['passthrough', undefined]);
});

test('answers carry HSTS unless hsts: false says otherwise, and origin errors carry it too', async (t) => {
  const origin = await fromHome(t);
  const home = new RelayHome(t);
  const { https } = await startRelayProcess(t, home);
  const [one, other] = [await homeCertificate(t), await homeCertificate(t, `other.${home.config.domain}`)];
  const without = vaultTunnel(origin.url, other, 'hsts: false', `other.${home.config.domain}`);
  const broken = await homeCertificate(t, `broken.${home.config.domain}`);
  await startTunnelProcess(t, https, home, [
    vaultTunnel(origin.url, one),
    without.replace('name: vault', 'name: other'),
    vaultTunnel('http://127.0.0.1:1', broken, '', `broken.${home.config.domain}`).replace('vault', 'broken'),
  ]);
  const hstsOf = async (ca: string, host: string) => {
    const { status, headers } = await visitHome(https, ca, '/', host);
    return [status, headers[HSTS]];
  };
  assert.deepEqual(await hstsOf(one.ca, VAULT), [200, 'max-age=31536000']);
  assert.deepEqual(await hstsOf(other.ca, `other.${home.config.domain}`), [200, undefined]);
  assert.deepEqual(await hstsOf(broken.ca, `broken.${home.config.domain}`), [502, 'max-age=31536000']);
});

test('with the staging CA no answer carries HSTS, unless hsts: true says so', async (t) => {
  const origin = await fromHome(t);
  const home = new RelayHome(t);
  const { https } = await startRelayProcess(t, home);
  const stateDir = join(temporaryFolder(t), 'state');
  const ca = await TestCa.make();
  const store = CertificateStore.open(stateDir);
  const tomorrow = Date.now() + 86_400_000;
  const hosts = [VAULT, `strict.${home.config.domain}`];
  // What is in the store is served without the CA, which no test may ask.
  for (const host of hosts) {
    const { cert, key } = await ca.issue(host);
    store.save(IMPORTED_CA, host, { chainPem: cert, keyPem: new Secret(key) });
    store.saveRecord(IMPORTED_CA, host, { renewAtMs: tomorrow, askAgainAtMs: tomorrow });
  }
  const [plain = '', strict = ''] = hosts;
  const tunnels = [
    acmeTunnel(origin.url, plain),
    acmeTunnel(origin.url, strict, 'strict').replace('end-to-end', 'end-to-end, hsts: true'),
  ];
  const yaml = `state_dir: ${stateDir}\nacme: { directory_url: staging }`;
  const tunnel = await startTunnelProcess(t, https, home, tunnels, { yaml });
  await tunnel.line('"name":"strict","state":"valid"');
  assert.equal((await visitHome(https, ca.certPem)).headers[HSTS], undefined);
  assert.equal((await visitHome(https, ca.certPem, '/', strict)).headers[HSTS], 'max-age=31536000');
});
