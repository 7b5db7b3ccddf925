/** A real browser through the tunnel: a page whose script opens a WebSocket and an event stream to where it came from. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { appUrl, connectVisitor, startAppTunnel } from './support/carry.js';
import { Chromium } from './support/chromium.js';
import { requireTool } from './support/require-tool.js';
import { echo, startWebSocketOrigin } from './support/web-socket-origin.js';

const PAGE = `<!doctype html>
<title>carried</title>
<ul></ul>
<script>
  const note = (text) => { document.querySelector('ul').append(Object.assign(document.createElement('li'), { textContent: text })); };
  const socket = new WebSocket(location.origin.replace('https', 'wss') + '/socket');
  const echoed = new Promise((resolve, reject) => {
    socket.onopen = () => socket.send('ping ünder 🚇');
    socket.onmessage = ({ data }) => { note('socket: ' + data); socket.close(4001, 'enough'); };
    socket.onclose = ({ code, reason, wasClean }) => { note('closed: ' + code + ' ' + reason + ' ' + wasClean); resolve(); };
    socket.onerror = () => reject(new Error('socket failed'));
  });
  const listened = new Promise((resolve) => {
    const events = new EventSource('/events');
    events.onmessage = ({ data }) => {
      note('event: ' + data);
      if (data === '3') { events.close(); resolve(); }
    };
  });
  const posted = fetch('/post', { method: 'POST', body: 'x'.repeat(300000) }).then((response) => response.text()).then((text) => note('posted: ' + text));
  window.finished = Promise.all([echoed, listened, posted]).then(() => [...document.querySelectorAll('li')].map((item) => item.textContent).sort());
</script>`;

test('a page with WebSocket, events and fetch works in a browser', { timeout: 60_000 }, async (t) => {
  const chromium = requireTool(t, 'chromium', 'chromium');
  if (chromium === undefined) return;
  const origin = await startWebSocketOrigin(t);
  origin.server.on('request', async (request, response) => {
    if (request.url === '/events') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      for (const id of [1, 2, 3]) response.write(`data: ${id}\n\n`);
    } else if (request.url === '/post') {
      let bytes = 0;
      for await (const piece of request) bytes += piece.length;
      response.end(`${bytes} bytes of ${request.headers['x-forwarded-proto']}`);
    } else {
      response.setHeader('Content-Type', 'text/html; charset=utf-8');
      response.end(PAGE);
    }
  });
  const relay = await startAppTunnel(t, origin.url);
  const accepted = origin.accepted();
  const { raw } = (await connectVisitor(t, relay)).getPeerCertificate();
  const browser = await Chromium.start(t, chromium, new X509Certificate(raw));
  await browser.open(appUrl(relay, '/page'));
  const socket = await accepted;
  echo(socket);
  const closed = new Promise((resolve) => socket.on('close', (code, reason) => resolve(`${code} ${reason}`)));
  assert.deepEqual(await browser.evaluate('window.finished'), [
    'closed: 4001 enough true',
    'event: 1',
    'event: 2',
    'event: 3',
    'posted: 300000 bytes of https',
    'socket: ping ünder 🚇',
  ]);
  assert.equal(await closed, '4001 enough');
  assert.equal(await browser.evaluate('document.title'), 'carried');
});
