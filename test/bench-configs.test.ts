/** The configurations that the bench writes: our own are read by our own readers, nginx tests its own, frp its own. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { chooseFigures, FIGURE_NAMES } from '../bench/figures/figures.js';
import { freePort } from '../bench/free-port.js';
import { QUICK, sizeOf } from '../bench/size.js';
import { frpcConfig, frpsConfig } from '../bench/subjects/frp-config.js';
import { frontConfig } from '../bench/subjects/nginx-front.js';
import { findPeer, missingPeers } from '../bench/subjects/peer-programs.js';
import { ratholeClientConfig, ratholeServerConfig } from '../bench/subjects/rathole-config.js';
import { relayConfig, tunnelConfig } from '../bench/subjects/sallyport-config.js';
import { chooseSubjects } from '../bench/subjects/subject-kinds.js';
import { parseRelayConfig } from '../relay-server/relay-config.js';
import { generateToken } from '../shared/token.js';
import { readTunnelConfig } from '../tunnel-client/tunnel-config.js';
import { requireTool } from './support/require-tool.js';
import { ROOT } from './support/source-files.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { testCertificate } from './support/test-certificate.js';
import { runTool } from './support/tool-process.js';

interface Files {
  readonly folder: string;
  readonly cert: string;
  readonly key: string;
}

async function certificateFiles(t: TestContext): Promise<Files> {
  const folder = temporaryFolder(t);
  const { cert, key } = await testCertificate();
  const files = { folder, cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key, { mode: 0o600 });
  return files;
}

test('relay.yaml of the bench is one that the relay reads, with its limits', async (t) => {
  const files = await certificateFiles(t);
  const text = relayConfig(8443, files, { limits: { connections: 20_000, keep_alive_timeout: '10m' }, workers: 2 });
  const config = parseRelayConfig(text, join(files.folder, 'relay.yaml'));
  assert.equal(config.limits.connections, 20_000);
  assert.equal(config.limits.keepAliveMs, 600_000);
  assert.equal(parseRelayConfig(relayConfig(8443, files), 'relay.yaml').limits.connections, 10_000);
});

test('tunnel.yaml of the bench is one that the client reads, with a tunnel for each host', async (t) => {
  const { folder, cert } = await certificateFiles(t);
  writeFileSync(join(folder, 'token'), generateToken().text.reveal(), { mode: 0o600 });
  const hosts = ['t0.bench.localhost', 't1.bench.localhost'];
  const file = join(folder, 'tunnel.yaml');
  writeFileSync(file, tunnelConfig({ relayPort: 8443, linkPort: 9443, caFile: cert, originPort: 8080, hosts }));
  const { relayUrl, relayAddress, tunnels } = readTunnelConfig(file);
  assert.equal(relayUrl.port, '8443');
  assert.equal(relayAddress?.port, 9443);
  assert.deepEqual(
    tunnels.map(({ host, origin }) => [host, origin.port]),
    hosts.map((host) => [host, 8_080]),
  );
});

test('nginx accepts the configuration of the front', async (t) => {
  const nginx = requireTool(t, 'nginx', 'nginx-light');
  if (nginx === undefined) return;
  const files = await certificateFiles(t);
  const file = join(files.folder, 'nginx.conf');
  const port = await freePort();
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => {
    return `${kind}_temp_path ${join(files.folder, kind)};`;
  });
  const front = frontConfig(port, 8080, files);
  const log = join(files.folder, 'error.log');
  const head = `pid ${join(files.folder, 'nginx.pid')};\nerror_log ${log};\nevents {}\n`;
  writeFileSync(file, `${head}http {\naccess_log off;\n${folders.join('\n')}\n${front}\n}\n`);
  const answer = await runTool(t, nginx, ['-t', '-e', log, '-c', file]);
  assert.equal(answer.code, 0, answer.stderr);
});

const CERTIFICATE = { cert: '/c.pem', key: '/k.pem' };
const CLIENT = { serverPort: 7000, token: 's', certificate: CERTIFICATE, originPort: 8080, hosts: ['a.test'] };

test('frp runs over TLS and tcpMux, and its client verifies the server', () => {
  const server = frpsConfig({ bindPort: 7000, httpPort: 7080, token: 's', certificate: CERTIFICATE });
  for (const line of [
    'bindPort = 7000',
    'vhostHTTPPort = 7080',
    'transport.tcpMux = true',
    'transport.tls.force = true',
  ]) {
    assert.ok(server.split('\n').includes(line), line);
  }
  assert.doesNotMatch(server, /undefined|vhostHTTPSPort/);
  const client = frpcConfig({ ...CLIENT, tlsEnds: 'before frps' });
  for (const line of ['transport.tls.trustedCaFile = "/c.pem"', 'type = "http"', 'customDomains = ["a.test"]']) {
    assert.ok(client.split('\n').includes(line), line);
  }
  assert.doesNotMatch(client, /undefined|plugin|user/);
});

test('frp https2http ends TLS at home', () => {
  const server = frpsConfig({ bindPort: 7000, httpsPort: 7443, token: 's', certificate: CERTIFICATE });
  assert.match(server, /^vhostHTTPSPort = 7443$/m);
  const client = frpcConfig({ ...CLIENT, tlsEnds: 'in frpc', user: 'c7' });
  assert.match(client, /^user = "c7"$/m);
  assert.match(
    client,
    /\[proxies\.plugin\]\ntype = "https2http"\nlocalAddr = "127\.0\.0\.1:8080"\ncrtPath = "\/c\.pem"/,
  );
});

test('frp itself accepts its configurations, where it is installed', async (t) => {
  const [frps, frpc] = [findPeer('frps'), findPeer('frpc')];
  // A peer is nobody's dependency: not even CI requires it.
  if (frps === undefined || frpc === undefined) return t.skip('skipped: frps and frpc not found (FRPS, FRPC)');
  const { folder, ...certificate } = await certificateFiles(t);
  const verify = async (program: string, text: string) => {
    const file = join(folder, 'frp.toml');
    writeFileSync(file, text);
    const answer = await runTool(t, program, ['verify', '-c', file]);
    assert.equal(answer.code, 0, answer.stdout + answer.stderr);
  };
  await verify(frps, frpsConfig({ bindPort: 7000, httpPort: 7080, httpsPort: 7443, token: 's', certificate }));
  await verify(frpc, frpcConfig({ ...CLIENT, certificate, tlsEnds: 'before frps', user: 'c7' }));
  await verify(frpc, frpcConfig({ ...CLIENT, certificate, tlsEnds: 'in frpc' }));
});

test('rathole runs over TLS, and its client verifies the server', () => {
  const pkcs12 = { pkcs12File: '/id.pfx', pkcs12Password: 'p' };
  const server = ratholeServerConfig({ bindPort: 2333, servicePort: 5202, token: 's', ...pkcs12 });
  assert.match(server, /\[server\.transport\]\ntype = "tls"\n\n\[server\.transport\.tls\]\npkcs12 = "\/id\.pfx"/);
  assert.match(server, /\[server\.services\.app\]\ntoken = "s"\nbind_addr = "127\.0\.0\.1:5202"/);
  const client = ratholeClientConfig({ serverPort: 2333, originPort: 8080, token: 's', caFile: '/c.pem' });
  assert.match(client, /remote_addr = "127\.0\.0\.1:2333"/);
  assert.match(client, /\[client\.transport\.tls\]\ntrusted_root = "\/c\.pem"\nhostname = "bench\.localhost"/);
});

test('a peer is found where its variable says, and missing ones are named with the cure', (t) => {
  const file = join(temporaryFolder(t), 'frps');
  writeFileSync(file, '', { mode: 0o755 });
  assert.equal(findPeer('frps', { FRPS: file }), file);
  assert.equal(findPeer('frps', { FRPS: join(file, 'nowhere') }), undefined);
  assert.equal(missingPeers(['frps'], { FRPS: file }), undefined);
  assert.match(
    missingPeers(['frps'], { FRPS: '/nowhere' }) ?? '',
    /^frps not found; put it on PATH, or name it by FRPS$/,
  );
});

test('a quick run has the subjects that every machine has, a full one all of them, and both may be told', () => {
  const names = (choice: { names: string | undefined; quick: boolean; compare: string | undefined }) =>
    chooseSubjects(choice).map(({ name }) => name);
  const all = ['limit', 'sallyport', 'nginx+frp', 'nginx+rathole', 'frp-https2http', 'http-proxy', 'node'];
  assert.deepEqual(names({ names: undefined, quick: false, compare: undefined }), all);
  assert.deepEqual(names({ names: undefined, quick: true, compare: undefined }), ['limit', 'sallyport', 'node']);
  assert.deepEqual(names({ names: 'sallyport,limit', quick: true, compare: '/old' }), ['sallyport', 'limit', 'other']);
  assert.throws(
    () => names({ names: 'ngrok', quick: false, compare: undefined }),
    /--subjects has ngrok; known are limit/,
  );
});

test('figures are chosen by name, in the order of a run', () => {
  const chosen = chooseFigures('upload,small', false).map(({ name }) => name);
  assert.deepEqual(chosen, ['small', 'upload']);
  assert.equal(new Set(FIGURE_NAMES).size, chooseFigures(undefined, false).length);
  assert.throws(() => chooseFigures('speed', true), /--only has speed; known are small, allocations, download/);
});

test('rounds are a whole number from 1 to 100', () => {
  assert.equal(sizeOf(true, '7').rounds, 7);
  assert.deepEqual(sizeOf(true, undefined), QUICK);
  for (const wrong of ['0', '101', '1.5', 'x', '']) assert.throws(() => sizeOf(false, wrong), /--rounds must be/);
});

test('what is wrong in a command line is said before anything starts', async (t) => {
  const main = join(ROOT, 'dist', 'bench', 'main.js');
  const wrong = [
    [['--only', 'speed'], /^bench: --only has speed; known are small/],
    [['--subjects', 'ngrok'], /^bench: --subjects has ngrok/],
    [['--update-baseline'], /^bench: --update-baseline needs --quick/],
    [['--rounds', '0'], /^bench: --rounds must be a whole number/],
  ] as const;
  for (const [args, message] of wrong) {
    const { code, stderr } = await runTool(t, process.execPath, [main, ...args]);
    assert.equal(code, 64, stderr);
    assert.match(stderr, message);
  }
});
