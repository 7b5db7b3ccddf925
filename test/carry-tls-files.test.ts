/** `tls.mode: files` at the public port: somebody else's certificates, replaced while the relay runs. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createLog } from '../shared/log.js';
import { APP, appTunnel, connectVisitor } from './support/carry.js';
import { Conversation } from './support/conversation.js';
import { startHttpOrigin } from './support/origins.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';
import { DOMAIN, RelayHome, type RunningRelay } from './support/world.js';

const GET = `GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`;

interface FilesRelay {
  readonly relay: RunningRelay;
  readonly ca: TestCa;
  readonly files: { certFile: string; keyFile: string };
  /** Resolves when the relay said that it loaded a certificate. */
  loaded(): Promise<void>;
}

/** A relay with `tls.mode: files` and a wildcard certificate of a test CA. */
async function startFilesRelay(t: TestContext): Promise<FilesRelay> {
  const folder = temporaryFolder(t);
  const ca = await TestCa.make();
  const files = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') };
  const own = { certFile: join(folder, 'own.pem'), keyFile: join(folder, 'own-key.pem') };
  const pairs = [
    [files, await ca.issue(`*.${DOMAIN}`)],
    [own, await ca.issue(DOMAIN)],
  ] as const;
  for (const [place, { cert, key }] of pairs) {
    writeFileSync(place.certFile, cert);
    writeFileSync(place.keyFile, key);
  }
  const list = pairs.map(([place]) => `{ cert_file: ${place.certFile}, key_file: ${place.keyFile} }`).join(', ');
  const waiting: (() => void)[] = [];
  const destination = {
    write: (line: string) => {
      if (line.includes('certificate loaded')) for (const wake of waiting.splice(0)) wake();
    },
  };
  const log = createLog({ level: 'info', format: 'json', destination });
  const hosts = [`*.${DOMAIN}`, `a.b.${DOMAIN}`];
  const home = new RelayHome(t, { yaml: `tls: { mode: files, certificates: [${list}] }`, hosts, log });
  // Clients of the world trust the file of the local CA, which this mode has no use for.
  mkdirSync(dirname(home.caFile), { recursive: true });
  writeFileSync(home.caFile, ca.certPem);
  const relay = await home.start(t);
  return { relay, ca, files, loaded: () => new Promise((resolve) => waiting.push(resolve)) };
}

test('with tls.mode files a replaced certificate is served without a restart; connections live on', async (t) => {
  const { relay, ca, files, loaded } = await startFilesRelay(t);
  const origin = await startHttpOrigin(t, (request, response) => response.end(request.headers.host));
  await relay.client(t, [appTunnel(origin.url)]);
  const serialOf = (raw: Buffer) => new X509Certificate(raw).serialNumber;
  const first = await connectVisitor(t, relay);
  const visitor = new Conversation(first);
  visitor.send(GET);
  const answer = await visitor.response();
  assert.equal(answer.body, APP);
  assert.equal(answer.field('strict-transport-security'), 'max-age=31536000', 'real certificates: HSTS by default');
  const renewed = await ca.issue(`*.${DOMAIN}`, 25);
  const wasLoaded = loaded();
  // As renewal programs do it: one file after the other, each at once.
  for (const [place, pem] of [
    [files.keyFile, renewed.key],
    [files.certFile, renewed.cert],
  ] as const) {
    writeFileSync(`${place}.new`, pem);
    renameSync(`${place}.new`, place);
  }
  await wasLoaded;
  const second = await connectVisitor(t, relay);
  assert.equal(serialOf(second.getPeerCertificate().raw), new X509Certificate(renewed.cert).serialNumber);
  assert.notEqual(serialOf(second.getPeerCertificate().raw), serialOf(first.getPeerCertificate().raw));
  visitor.send(GET);
  assert.equal((await visitor.response()).body, APP);
});

test('with tls.mode files a hostname without a certificate is denied to its client', async (t) => {
  const { relay } = await startFilesRelay(t);
  const deep = `{ name: deep, host: a.b.${DOMAIN}, origin: "127.0.0.1:1" }`;
  const client = await relay.client(t, [deep], { noWait: true });
  await client.event('denied deep CONFIG_INVALID');
});
