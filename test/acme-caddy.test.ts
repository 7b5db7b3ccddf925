/** The issuer against a second implementation of ACME: the server inside Caddy. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { certificatesIn } from '../shared/certs/issued-chain.js';
import { requireTool, skipFor } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';
import { runTool, ToolProcess } from './support/tool-process.js';

const build = new URL('../', import.meta.url);

/**
 * Caddy's CA looks at port 80 and 443 and asks the system's resolver, so all of it runs in a network of its own, where
 * `localhost` has both ports. The first CA of the chain is down; a broken TLS-ALPN-01 makes HTTP-01 step in.
 */
const INSIDE = `
  import { once } from 'node:events';
  import { createServer } from 'node:http';
  import { createServer as createTlsServer } from 'node:tls';
  const [build, folder, how] = process.argv.slice(1);
  const load = (path) => import(new URL(path, build).href);
  const { AccountStore } = await load('shared/certs/account-store.js');
  const { AcmeIssuer } = await load('shared/certs/acme-issuer.js');
  const { HttpSolver } = await load('shared/certs/http-solver.js');
  const { IssuerChain } = await load('shared/certs/issuer-chain.js');
  const { makePrivateKey } = await load('shared/certs/private-key.js');
  const { TlsAlpnSolver } = await load('shared/certs/tls-alpn-solver.js');
  const { silentLog } = await load('shared/log.js');
  const [alpn, http] = [new TlsAlpnSolver(), new HttpSolver()];
  const asked = [];
  if (how !== 'http-01') {
    const SNICallback = (name, done) => { asked.push('tls-alpn-01'); done(null, alpn.contextFor(name)); };
    await once(createTlsServer({ ALPNProtocols: ['acme-tls/1'], SNICallback }).listen(443, '127.0.0.1'), 'listening');
  }
  const answer = (request, response) => {
    asked.push('http-01');
    const body = http.answer(request.headers.host, request.url);
    response.writeHead(body ? 200 : 404).end(body);
  };
  await once(createServer(answer).listen(80, '127.0.0.1'), 'listening');
  const accounts = new AccountStore(folder + '/accounts-' + how);
  const common = { caFile: folder + '/ca.pem', solvers: [alpn, http], accounts, log: silentLog, pollMs: 20 };
  const issuer = new AcmeIssuer({ ...common, directory: 'https://localhost:8443/acme/local/directory' });
  const down = new AcmeIssuer({ ...common, directory: 'https://localhost:9/dir' });
  const request = { hostnames: ['localhost'], keyPem: await makePrivateKey(), signal: AbortSignal.timeout(20_000) };
  const issued = await new IssuerChain([down, issuer], silentLog).issue(request).catch((error) => ({ error: error.message }));
  console.log(JSON.stringify({ ...issued, asked: [...new Set(asked)] }));
  process.exit();
`;

function writeConfig(folder: string): string {
  const lines = [
    '{',
    'admin off',
    'auto_https off',
    'skip_install_trust',
    '}',
    'https://localhost:8443 {',
    `tls ${join(folder, 'cert.pem')} ${join(folder, 'key.pem')}`,
    'acme_server',
    '}',
  ];
  const config = join(folder, 'Caddyfile');
  writeFileSync(config, lines.join('\n'));
  return config;
}

/** Starts Caddy in a network of its own; resolves with what runs the issuer beside it. */
async function startCaddy(t: TestContext) {
  const tools = ['caddy', 'unshare', 'ip', 'nsenter'].map((name) => findOrSkip(t, name));
  const [caddy, unshare, ip, nsenter] = tools;
  if (!caddy || !unshare || !ip || !nsenter) return undefined;
  const probe = await runTool(t, unshare, ['-rn', ip, 'link', 'set', 'lo', 'up']);
  if (probe.code !== 0) return skipFor(t, 'user and network namespaces are not allowed here');
  const folder = temporaryFolder(t);
  const ca = await TestCa.make();
  const own = await ca.issue('localhost');
  for (const [name, text] of Object.entries({ 'ca.pem': ca.certPem, 'cert.pem': own.cert, 'key.pem': own.key })) {
    writeFileSync(join(folder, name), text);
  }
  const run = `${ip} link set lo up && exec ${caddy} run --config ${writeConfig(folder)} --adapter caddyfile`;
  const place = { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
  const process_ = new ToolProcess(t, unshare, ['-rn', 'sh', '-c', run], place);
  await process_.line('serving initial configuration');
  return async (how: string) => {
    // The user namespace is Caddy's too, without becoming another user in the files of the test.
    const enter = ['-t', String(process_.child.pid), '-U', '-n', '--preserve-credentials'];
    const node = [process.execPath, '--input-type=module', '-e', INSIDE, '--', build.href, folder, how];
    const { stdout, stderr } = await runTool(t, nsenter, [...enter, ...node]);
    assert.notEqual(stdout, '', stderr);
    return JSON.parse(stdout) as { chainPem: string; issuer: string; asked: string[]; error?: string };
  };
}

function findOrSkip(t: TestContext, name: string): string | undefined {
  return requireTool(t, name, name === 'caddy' ? 'caddy' : name === 'ip' ? 'iproute2' : 'util-linux');
}

test('Caddy issues as the second CA, by TLS-ALPN-01, and by HTTP-01 when that fails', async (t) => {
  const issueBy = await startCaddy(t);
  if (!issueBy) return;
  for (const how of ['tls-alpn-01', 'http-01']) {
    const { chainPem, issuer, asked, error } = await issueBy(how);
    assert.equal(error, undefined);
    assert.deepEqual(asked, [how]);
    assert.equal(issuer, 'localhost-8443-acme-local-directory');
    const [leaf, intermediate] = certificatesIn(chainPem).map((pem) => new X509Certificate(pem));
    assert.ok(leaf && intermediate && leaf.verify(intermediate.publicKey));
    assert.equal(leaf.subjectAltName, 'DNS:localhost');
    assert.match(intermediate.subject, /Caddy/);
  }
});
