/** What a person reads when no link opens: each cause in words, with the one cure that fits it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { TunnelError } from '../shared/errors.js';
import { generateToken } from '../shared/token.js';
import { openRelayLink } from '../tunnel-client/session/dial-relay.js';
import { linkFailure } from '../tunnel-client/session/link-failure.js';
import { parseTunnelConfig } from '../tunnel-client/tunnel-config.js';
import { testCertificate } from './support/test-certificate.js';

const UNRECOGNIZED_NAME = Buffer.from('15030300020270', 'hex');

async function listen(t: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => void server.close());
  return (server.address() as AddressInfo).port;
}

/** The message of the failed dial of `relay.example` at this port. */
async function failureAt(port: number): Promise<string> {
  const text = `relay_url: https://relay.example:${port}\nrelay_address: "127.0.0.1:${port}"\ntoken: ${generateToken().text.reveal()}\nproxy_url: off\n`;
  const config = parseTunnelConfig(text, 'tunnel.yaml');
  const error = await openRelayLink(config, AbortSignal.timeout(10_000)).then(
    () => assert.fail('a link opened'),
    (failure: unknown) => failure,
  );
  assert.ok(error instanceof TunnelError);
  assert.equal(error.code, 'LINK_LOST');
  return error.message;
}

test('a port where nothing listens', async (t) => {
  const server = createServer();
  const port = await listen(t, server);
  server.close();
  await once(server, 'close');
  assert.equal(
    await failureAt(port),
    `Cannot open link to 127.0.0.1:${port}: nothing listens on port ${port} of 127.0.0.1. Is the port in relay_url right, and is the relay running?`,
  );
});

test('a certificate that nobody here trusts, with the name of who signed it', async (t) => {
  const { key, cert } = await testCertificate();
  const port = await listen(t, createTlsServer({ key, cert }));
  assert.match(
    await failureAt(port),
    /: the relay's certificate is signed by nobody this machine trusts \(.+\)\. Name its root under relay_ca_file, or run tunnel doctor\.$/,
  );
});

test('a relay that has no certificate for its name, without the text of OpenSSL', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(UNRECOGNIZED_NAME));
  });
  const message = await failureAt(await listen(t, server));
  assert.match(
    message,
    /: the relay answers, but has no certificate for relay\.example yet, or does not know that name\. On the VPS: relay cert list$/,
  );
});

test('every other known cause has words of its own, and an unknown one keeps those of the system', () => {
  const target = { name: 'relay.example', address: { host: 'relay.example', port: 443 }, issuer: undefined };
  const told = (code: string, message: string) =>
    linkFailure(
      new TunnelError('LINK_LOST', `as it was: ${message}`, { cause: Object.assign(new Error(message), { code }) }),
      target,
    ).message;
  assert.match(
    told('ENOTFOUND', 'getaddrinfo ENOTFOUND relay.example'),
    /relay\.example has no address\. Is relay_url/,
  );
  assert.match(told('ETIMEDOUT', ''), /does not answer on port 443\. Is the VPS up/);
  assert.match(told('', 'no answer in 10000 ms'), /does not answer on port 443\. Is the VPS up/);
  assert.match(told('CERT_HAS_EXPIRED', 'certificate has expired'), /has expired\. On the VPS/);
  assert.match(
    told('ERR_TLS_CERT_ALTNAME_INVALID', 'Hostname/IP does not match'),
    /not for relay\.example\. Is relay_url right/,
  );
  const openssl =
    'write EPROTO 80DC:error:0A000410:SSL routines:ssl3_read_bytes:sslv3 alert handshake failure:../ssl/x.c:1605:\n';
  assert.equal(told('EPROTO', openssl), 'Cannot open link to relay.example:443: sslv3 alert handshake failure');
  assert.equal(told('EODD', 'odd'), 'as it was: odd');
});
