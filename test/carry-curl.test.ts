/** curl through the tunnel, to a node origin and to a real nginx: what a visitor sends and gets is what the origin sees. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { appUrl, curlOptions, runCurl, startAppTunnel } from './support/carry.js';
import { startNginx } from './support/nginx.js';
import { startHttpOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import type { RunningRelay } from './support/world.js';

/** A tunnel to a node origin, and a curl that visits it: its output with the response heads in front. */
async function curlToOrigin(
  t: TestContext,
  onRequest: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ visit: (...args: string[]) => Promise<string>; relay: RunningRelay; curl: string } | undefined> {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return undefined;
  const origin = await startHttpOrigin(t, onRequest);
  const relay = await startAppTunnel(t, origin.url);
  return { visit: curlVisits(t, curl, relay), relay, curl };
}

function curlVisits(t: TestContext, curl: string, relay: RunningRelay): (...args: string[]) => Promise<string> {
  return async (...args) => {
    const { code, stdout, stderr } = await runCurl(t, curl, relay, ['-i', ...args, appUrl(relay, '/file?a=b')]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
}

/** A tunnel to nginx, which serves and takes files in a folder. */
async function curlToNginx(t: TestContext, folder: string): Promise<{ relay: RunningRelay; curl: string } | undefined> {
  const curl = requireTool(t, 'curl', 'curl');
  const nginx = requireTool(t, 'nginx', 'nginx-light');
  if (curl === undefined || nginx === undefined) return undefined;
  const socket = join(temporaryFolder(t), 'nginx.sock');
  const http = `server { listen unix:${socket}; root ${folder};
    location / { dav_methods PUT; }
    location = /old { return 204; } }`;
  await startNginx(t, nginx, http);
  return { relay: await startAppTunnel(t, `unix:${socket}`), curl };
}

test('GET, HEAD and POST reach a node origin as they were sent, and its answers come back', async (t) => {
  const world = await curlToOrigin(t, async (request, response) => {
    const { method, url } = request;
    response.setHeader('X-Origin', 'node');
    response.end(JSON.stringify({ method, url, cookie: request.headers.cookie, body: await text(request) }));
  });
  if (world === undefined) return;
  const get = await world.visit('-b', 'a=1; b=2');
  assert.match(get, /^HTTP\/1\.1 200 OK\r\nX-Origin: node\r\n/);
  assert.match(get, /\{"method":"GET","url":"\/file\?a=b","cookie":"a=1; b=2","body":""\}$/);
  assert.match(await world.visit('-d', 'hello=world'), /\{"method":"POST","url":"\/file\?a=b","body":"hello=world"\}$/);
  const head = await world.visit('-I');
  assert.match(head, /\r\nX-Origin: node\r\n/);
  assert.ok(head.endsWith('\r\n\r\n'), 'a response to HEAD has no body');
});

test('nginx serves files through the tunnel: GET, HEAD with its length, Range, If-None-Match', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'file'), 'abcdefghijklmnopqrstuvwxyz');
  const world = await curlToNginx(t, folder);
  if (world === undefined) return;
  const visit = curlVisits(t, world.curl, world.relay);
  assert.match(await visit(), /^HTTP\/1\.1 200 OK\r\nServer: nginx.*\r\n\r\nabcdefghijklmnopqrstuvwxyz$/s);
  const head = await visit('-I');
  assert.match(head, /\r\nContent-Length: 26\r\n\r\n$/);
  assert.match(await visit('-r', '3-6'), /^HTTP\/1\.1 206 .*\r\nContent-Range: bytes 3-6\/26\r\n.*\r\n\r\ndefg$/s);
  assert.match(await visit('-r', '-2'), /\r\n\r\nyz$/);
  assert.match(
    await visit('-r', '0-1,24-25'),
    /^HTTP\/1\.1 206 .*multipart\/byteranges.*\r\n\r\nab\r\n.*\r\n\r\nyz\r\n/s,
  );
  assert.match(await visit('-r', '99-'), /^HTTP\/1\.1 416 /);
  const etag = /\r\nETag: (".*")\r\n/.exec(head)?.[1];
  const notModified = await visit('-H', `If-None-Match: ${etag}`);
  assert.match(notModified, /^HTTP\/1\.1 304 .*\r\n\r\n$/s);
});

test('204 and 304 end without a body, and the connection goes on', async (t) => {
  const world = await curlToOrigin(t, (_request, response) => response.writeHead(204, { 'X-Empty': 'yes' }).end());
  if (world === undefined) return;
  const { curl, relay } = world;
  const url = appUrl(relay, '/');
  const args = ['-o', '/dev/null', '-w', '%{http_code} %{size_download} %{num_connects}\n'];
  const { stdout } = await runCurl(t, curl, relay, [
    ...args,
    url,
    '--next',
    ...curlOptions(relay).slice(1),
    ...args,
    url,
  ]);
  assert.equal(stdout, '204 0 1\n204 0 0\n');
});

test('a chunked upload from a pipe and a chunked answer keep every byte', async (t) => {
  const world = await curlToOrigin(t, (request, response) => {
    response.setHeader('X-Framing', String(request.headers['transfer-encoding']));
    request.pipe(response);
  });
  if (world === undefined) return;
  const { curl, relay } = world;
  const sent = Buffer.from(Array.from({ length: 200_000 }, (_, index) => `${index}\n`).join(''));
  const { stdout, code, stderr } = await runCurl(t, curl, relay, ['-i', '-T', '-', appUrl(relay, '/')], sent);
  assert.equal(code, 0, stderr);
  const bodyAt = stdout.lastIndexOf('\r\n\r\n', stdout.indexOf('\n1\n')) + 4;
  assert.match(stdout.slice(0, bodyAt), /\r\nX-Framing: chunked\r\n.*\r\nTransfer-Encoding: chunked\r\n/s);
  assert.ok(stdout.slice(bodyAt) === sent.toString(), 'the body came back as it was sent');
});

test('an upload of a file to nginx can be downloaded again', async (t) => {
  const folder = temporaryFolder(t);
  const world = await curlToNginx(t, folder);
  if (world === undefined) return;
  const visit = curlVisits(t, world.curl, world.relay);
  const file = join(temporaryFolder(t), 'upload');
  writeFileSync(file, 'x'.repeat(3_000_000));
  assert.match(await visit('-T', file), /HTTP\/1\.1 201 Created/);
  const answer = await visit();
  assert.equal(answer.slice(answer.indexOf('\r\n\r\n') + 4), 'x'.repeat(3_000_000));
});

test('1,000 sequential requests of one curl use one connection, one stream and one origin connection', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const origin = await startHttpOrigin(t, (request, response) => response.end(`${request.url}\n`));
  const relay = await startAppTunnel(t, origin.url);
  const { code, stdout, stderr } = await runCurl(t, curl, relay, [
    '-w',
    '%{num_connects}\n',
    appUrl(relay, '/[1-1000]'),
  ]);
  assert.equal(code, 0, stderr);
  const expected = Array.from({ length: 1_000 }, (_, index) => `/${index + 1}\n${index === 0 ? 1 : 0}\n`).join('');
  assert.equal(stdout, expected);
  assert.equal(origin.connections, 1);
  const [tunnel] = relay.relay.status().tunnels;
  assert.equal(tunnel?.totalStreams, 1);
  assert.equal(tunnel?.requests, 1_000);
});

test('curl waits with its body for the 100 Continue of the origin', async (t) => {
  const order: string[] = [];
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const origin = await startHttpOrigin(t, () => assert.fail('the request came without Expect'));
  origin.server.on('checkContinue', async (request: IncomingMessage, response: ServerResponse) => {
    order.push(`asked ${request.headers.expect}`);
    response.writeContinue();
    order.push(`body ${(await text(request)).length}`);
    response.end('thanks');
  });
  const relay = await startAppTunnel(t, origin.url);
  // An hour: curl sends nothing until it is told to.
  const patience = ['-H', 'Expect: 100-continue', '--expect100-timeout', '3600'];
  const { stdout } = await runCurl(t, curl, relay, ['-i', ...patience, '-d', 'x'.repeat(100), appUrl(relay, '/')]);
  assert.match(stdout, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
  assert.deepEqual(order, ['asked 100-continue', 'body 100']);
});

test('an origin that refuses an upload is heard before the body is sent', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const origin = await startHttpOrigin(t, () => assert.fail('the request came without Expect'));
  origin.server.on('checkContinue', (_request: IncomingMessage, response: ServerResponse) => {
    response.writeHead(413, { Connection: 'close' }).end('too much');
  });
  const relay = await startAppTunnel(t, origin.url);
  const args = ['-i', '-H', 'Expect: 100-continue', '--expect100-timeout', '3600', '-w', ' %{size_upload}'];
  const { stdout } = await runCurl(t, curl, relay, [...args, '-d', 'x'.repeat(5_000), appUrl(relay, '/')]);
  assert.match(stdout, /^HTTP\/1\.1 413 .*\r\n\r\ntoo much 0$/s);
});

test('HTTP/1.0: without keep-alive the connection ends after the answer, with it a second request follows', async (t) => {
  const world = await curlToOrigin(t, (request, response) => {
    if (request.method === 'GET') response.write('in ');
    response.end('chunks');
  });
  if (world === undefined) return;
  const { visit } = world;
  const old = await visit('--http1.0');
  assert.match(old, /^HTTP\/1\.1 200 OK\r\n.*\r\nConnection: close\r\n\r\nin chunks$/s);
  assert.doesNotMatch(old, /Transfer-Encoding/i);
  const keepAlive = ['--http1.0', '-H', 'Connection: keep-alive', '-d', '', '-w', ' %{num_connects}\n'];
  const args = [
    ...keepAlive,
    appUrl(world.relay, '/'),
    '--next',
    ...curlOptions(world.relay).slice(1),
    '-i',
    ...keepAlive,
  ];
  const twice = await visit(...args);
  assert.match(twice, /\r\nConnection: keep-alive\r\n.*chunks 1\n.*\r\nConnection: keep-alive\r\n.*chunks 0\n$/s);
});

test('103 Early Hints arrive before the final response', async (t) => {
  const world = await curlToOrigin(t, (_request, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' }, () => response.end('done'));
  });
  if (world === undefined) return;
  const hints = 'HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n';
  const answer = await world.visit();
  assert.ok(answer.startsWith(`${hints}HTTP/1.1 200 OK\r\n`), answer);
});

test('response trailers are delivered to curl', async (t) => {
  const world = await curlToOrigin(t, (_request, response) => {
    response.writeHead(200, { Trailer: 'X-Sum' });
    response.write('some data');
    response.addTrailers({ 'X-Sum': '42' });
    response.end();
  });
  if (world === undefined) return;
  const answer = await world.visit('--raw');
  assert.match(answer, /\r\nTrailer: X-Sum\r\n/);
  assert.ok(answer.endsWith('9\r\nsome data\r\n0\r\nX-Sum: 42\r\n\r\n'), answer);
});
