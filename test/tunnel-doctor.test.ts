/** `tunnel doctor`: each thing that can be wrong is found, named and told with its cure; and nothing else is. */
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import type { CheckResult, Report } from '../shared/doctor/check.js';
import { certificateFinding, clockFinding, isSameServer, portFinding } from '../shared/doctor/network-findings.js';
import { runtimeFinding } from '../shared/doctor/runtime-finding.js';
import { runDoctor } from '../tunnel-client/doctor-command.js';
import { StatusSocket } from '../tunnel-client/ops/status-socket.js';
import { listen, startHttpOrigin } from './support/origins.js';
import { recordingIo } from './support/recording-io.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';
import { until } from './support/within.js';
import { DOMAIN, RelayHome, RunningProgram, TUNNEL_PROGRAM, writeTunnelConfig } from './support/world.js';

const tunnelTo = (origin: string, host = `app.${DOMAIN}`) => `{ name: app, host: ${host}, origin: "${origin}" }`;

interface Diagnosis {
  readonly report: Report;
  readonly exit: number;
  /** The check of this name. */
  of(check: string): CheckResult;
  /** Names of the checks that failed. */
  readonly failed: readonly string[];
}

async function diagnose(t: TestContext, config: string, statusFolder = temporaryFolder(t)): Promise<Diagnosis> {
  const io = recordingIo();
  const exit = await runDoctor({ config, json: true, statusFolder }, io);
  const report = JSON.parse(io.printed.join('')) as Report;
  const of = (name: string) => report.checks.find(({ check }) => check === name) ?? assert.fail(`no check ${name}`);
  const failed = report.checks.filter(({ state }) => state === 'FAIL').map(({ check }) => check);
  for (const result of report.checks) if (result.state === 'FAIL') assert.ok(result.cure, `${result.check} has a cure`);
  return { report, exit, of, failed };
}

async function healthyWorld(t: TestContext, hosts = [`*.${DOMAIN}`]) {
  const origin = await startHttpOrigin(t, (_request, response) => void response.end('hi'));
  const relay = await new RelayHome(t, { hosts }).start(t);
  const folder = temporaryFolder(t);
  const config = (tunnel = tunnelTo(origin.url), yaml = '') =>
    writeTunnelConfig(folder, relay.port('https'), relay.home, [tunnel], { yaml });
  return { relay, origin, folder, config };
}

test('where all is well nothing fails, and the relay is left as it was', async (t) => {
  const { relay, config } = await healthyWorld(t);
  const { report, exit, failed, of } = await diagnose(t, config());
  assert.deepEqual([failed, exit, report.ok], [[], 0, true]);
  assert.equal(report.passed + report.skipped, report.checks.length);
  assert.match(of('token').found, /accepts the token/);
  assert.match(of('grants').found, /1 tunnel may/);
  assert.match(of('clock').found, /within/);
  assert.match(of('app app').found, /answers in \d+ ms/);
  assert.deepEqual(relay.relay.status().tunnels, []);
});

test('as a program it prints a line per check, a summary, and exits by what failed', async (t) => {
  const { config } = await healthyWorld(t);
  const env = { XDG_RUNTIME_DIR: temporaryFolder(t), HTTPS_PROXY: '', https_proxy: '' };
  const well = new RunningProgram(t, TUNNEL_PROGRAM, ['doctor', '--config', config()], env);
  assert.equal(await well.exited, 0);
  assert.match(well.lines.join('\n'), /^PASS {2}config .*\n[\s\S]*All is well\.$/m);
  const missing = new RunningProgram(t, TUNNEL_PROGRAM, ['doctor', '--config', '/nowhere/tunnel.yaml'], env);
  assert.equal(await missing.exited, 78);
  assert.match(missing.lines.join('\n'), /FAIL {2}config [\s\S]*→ Do: tunnel join[\s\S]*Begin with: config\.$/);
});

test('a proxy that is down, or refuses, is what the port check tells, with its cure', async (t) => {
  const { config } = await healthyWorld(t);
  const port = await freePort();
  const down = await diagnose(t, config(undefined, `proxy_url: http://127.0.0.1:${port}`));
  assert.match(down.of('port').found, /through proxy http:\/\/127\.0\.0\.1:\d+: nothing listens there/);
  assert.match(down.of('port').cure ?? '', /^Mend the proxy, or correct proxy_url\.$/);
  const refusing = createServer((socket) => socket.end('HTTP/1.1 403 Forbidden\r\n\r\n'));
  const refusingPort = await listen(t, refusing);
  const refused = await diagnose(t, config(undefined, `proxy_url: http://127.0.0.1:${refusingPort}`));
  assert.match(refused.of('port').found, /answered 403\.$/);
  assert.match(refused.of('port').cure ?? '', /ask its operator to allow CONNECT/);
});

test('Home Assistant that does not trust the client is told from an app that is down', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => {
    response.statusCode = request.headers['x-forwarded-for'] === undefined ? 200 : 400;
    response.end();
  });
  const { config } = await healthyWorld(t);
  const { failed, of, exit } = await diagnose(t, config(tunnelTo(origin.url)));
  assert.deepEqual([failed, exit], [['proxied app'], 69]);
  assert.match(of('proxied app').cure ?? '', /trusted_proxies:\n {4}- 127\.0\.0\.1$/);

  const down = await diagnose(t, config(tunnelTo(`http://127.0.0.1:${await freePort()}`)));
  assert.deepEqual(down.failed, ['app app']);
  assert.equal(down.of('app app').code, 'ORIGIN_REFUSED');
  assert.equal(down.of('proxied app').state, 'SKIP');
});

test('an app that answers 400 to everybody, or 200 to everybody, is no trap', async (t) => {
  const { config } = await healthyWorld(t);
  for (const status of [200, 400, 404]) {
    const origin = await startHttpOrigin(t, (_request, response) => {
      response.statusCode = status;
      response.end();
    });
    assert.deepEqual((await diagnose(t, config(tunnelTo(origin.url)))).failed, [], String(status));
  }
});

test('a token that was revoked, and a hostname that is not granted, are 77', async (t) => {
  const { relay, config, origin } = await healthyWorld(t, [`app.${DOMAIN}`]);
  const foreign = await diagnose(t, config(tunnelTo(origin.url, `other.${DOMAIN}`)));
  assert.deepEqual([foreign.failed, foreign.exit, foreign.of('grants').code], [['grants'], 77, 'NOT_GRANTED']);
  relay.home.tokens.revoke('home');
  const revoked = await until('the relay sees the change', async () => {
    const found = await diagnose(t, config());
    return found.failed.includes('token') ? found : undefined;
  });
  assert.deepEqual([revoked.failed, revoked.exit], [['token'], 77]);
  assert.match(revoked.of('token').cure ?? '', /relay token rotate/);
});

test('a hostname that another client holds is a failure, one of our own running client is not', async (t) => {
  const { relay, config, origin } = await healthyWorld(t);
  const { client } = await relay.client(t, [tunnelTo(origin.url)]);
  const foreign = await diagnose(t, config());
  assert.deepEqual([foreign.failed, foreign.of('grants').code], [['grants'], 'HOSTNAME_TAKEN']);
  const folder = temporaryFolder(t);
  const socket = await StatusSocket.open(() => client.status(), { folder });
  t.after(() => socket.close());
  assert.deepEqual((await diagnose(t, config(), folder)).failed, []);
  assert.equal(relay.relay.status().tunnels[0]?.state, 'online');
});

test('a relay that is not there is found at the port, and what hangs on it is skipped', async (t) => {
  const { relay, folder } = await healthyWorld(t);
  const config = writeTunnelConfig(folder, await freePort(), relay.home, []);
  const { failed, exit, of } = await diagnose(t, config);
  assert.deepEqual([failed, exit], [['port', 'websocket'], 69]);
  assert.match(of('port').cure ?? '', /Nothing listens there/);
  for (const check of ['tls', 'clock', 'token', 'version', 'grants']) assert.equal(of(check).state, 'SKIP', check);
});

test('a server that is no relay, with a certificate that is not trusted, says so', async (t) => {
  const { relay, folder } = await healthyWorld(t);
  const { key, cert } = await (await TestCa.make()).issue(DOMAIN);
  const server = createTlsServer({ key, cert }, (_request, response) => void response.end());
  t.after(() => server.closeAllConnections());
  const config = writeTunnelConfig(folder, await listen(t, server), relay.home, []);
  const { failed, of } = await diagnose(t, config);
  assert.deepEqual(failed, ['tls']);
  assert.match(of('websocket').found, /needs a certificate, see above/);
  assert.match(of('tls').found, /not accepted: UNABLE_TO_VERIFY|SELF_SIGNED/);
});

test('a web server without a relay behind it passes no WebSocket; a clock that is wrong is told', async (t) => {
  const { relay, folder } = await healthyWorld(t);
  const ca = await TestCa.make();
  const { key, cert } = await ca.issue(DOMAIN);
  const server = createTlsServer({ key, cert }, (_request, response) => {
    response.setHeader('Date', new Date(Date.now() - 7 * 60_000).toUTCString());
    response.end();
  });
  t.after(() => server.closeAllConnections());
  const config = writeTunnelConfig(folder, await listen(t, server), relay.home, []);
  writeFileSync(join(folder, 'ca.pem'), ca.certPem);
  const { failed, of } = await diagnose(t, config);
  assert.deepEqual(failed, ['clock', 'websocket']);
  assert.match(of('clock').found, /^this machine is [67]m \d+s ahead of the relay/);
  assert.match(of('websocket').cure ?? '', /must pass Upgrade on/);
});

test('a token that others may read, and a folder that others may write, are configuration', async (t) => {
  const { folder, config } = await healthyWorld(t);
  const file = config();
  chmodSync(join(folder, 'token'), 0o644);
  const exposed = await diagnose(t, file);
  assert.deepEqual([exposed.failed, exposed.exit], [['config'], 78]);
  chmodSync(join(folder, 'token'), 0o600);
  chmodSync(folder, 0o777);
  const open = await diagnose(t, file);
  assert.deepEqual([open.failed, open.of('permissions').cure], [['permissions'], `Do: chmod go-w ${folder}`]);
});

test('an AAAA record that leads nowhere fails only where IPv6 works', () => {
  const open = { address: { host: '192.0.2.1', port: 443 }, tcpMs: 3 };
  const dead = (failure: string) => ({ address: { host: '2001:db8::1', port: 443 }, failure });
  assert.equal(portFinding([open]).state, 'PASS');
  assert.equal(portFinding([open, dead('ENETUNREACH')]).state, 'PASS');
  const refused = portFinding([open, dead('ECONNREFUSED')]);
  assert.equal(refused.state, 'FAIL');
  assert.match(refused.cure ?? '', /AAAA record leads nowhere/);
  assert.equal(portFinding([dead('ENETUNREACH')]).state, 'FAIL');
});

test('certificates are judged by their word and their days', () => {
  const address = { host: '192.0.2.1', port: 443 };
  const seen = (changes: object) => ({
    address,
    tcpMs: 1,
    tlsMs: 2,
    certificate: { fingerprint: 'AA', issuer: 'CA', notAfterMs: 30 * 86_400_000, problem: undefined, ...changes },
  });
  assert.deepEqual(certificateFinding('x', seen({}), 0).cure, undefined);
  assert.match(certificateFinding('x', seen({ notAfterMs: 86_400_000 }), 0).cure ?? '', /Renewal/);
  const cures: [string, RegExp][] = [
    ['CERT_HAS_EXPIRED', /Renew/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', /Another server/],
    ['SELF_SIGNED_CERT_IN_CHAIN', /relay_ca_file/],
    ['CERT_NOT_YET_VALID', /clock/],
  ];
  for (const [problem, cure] of cures) assert.match(certificateFinding('x', seen({ problem }), 0).cure ?? '', cure);
  const failure = (word: string) => certificateFinding('x', { address, tcpMs: 1, failure: word }, 0).cure ?? '';
  assert.match(failure('ERR_SSL_TLSV1_UNRECOGNIZED_NAME'), /No client has claimed x, no token may serve it/);
  assert.match(failure('ERR_SSL_WRONG_VERSION_NUMBER'), /does not speak TLS/);
  assert.equal(isSameServer(seen({}).certificate, seen({}).certificate), true);
  assert.equal(isSameServer(undefined, undefined), false);
});

test('a minute of skew is none, two are', () => {
  assert.equal(clockFinding({ theirsMs: 0, oursMs: 60_000 }, 'the relay').state, 'PASS');
  assert.match(clockFinding({ theirsMs: 120_000, oursMs: 0 }, 'the relay').found, /2m 0s behind the relay/);
  assert.equal(clockFinding(undefined, 'the relay').state, 'SKIP');
});

test('a runtime without security fixes does not pass, and does not fail', () => {
  for (const version of ['20.20.0', '22.23.1', '24.18.0', '25.9.9']) {
    assert.deepEqual(
      [runtimeFinding(version).state, runtimeFinding(version).cure !== undefined],
      ['SKIP', true],
      version,
    );
  }
  for (const version of ['22.23.2', '24.18.1', '24.19.0', '26.5.1', '27.0.0']) {
    assert.equal(runtimeFinding(version).cure, undefined, version);
  }
});
