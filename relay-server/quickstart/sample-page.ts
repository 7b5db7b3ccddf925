/**
 * SamplePage: the page of the sample origin. Pure: facts in, HTML out; style and script stand in this file, so that the
 * policy can name them by their hashes and the page needs no second request.
 */
import { createHash } from 'node:crypto';
import { escapeHtml } from '../../shared/http/error-page.js';

const STYLE = `:root{color-scheme:light dark;--bg:#f4f5f7;--card:#fff;--ink:#1b1f27;--dim:#5a6372;--line:#dde1e7;--ok:#17804a;--soft:#e6f5ec}
@media(prefers-color-scheme:dark){:root{--bg:#101318;--card:#191d24;--ink:#e8ebf0;--dim:#9ba5b4;--line:#2e3540;--ok:#4ecb89;--soft:#16301f}}
*{box-sizing:border-box}
body{margin:0;padding:clamp(1rem,4vw,3rem) 1rem;background:var(--bg);color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main{max-width:56rem;margin:0 auto}
header{text-align:center;margin-bottom:2rem}
h1{margin:0 0 .25rem;font-size:clamp(1.8rem,6vw,2.6rem);line-height:1.15}
header p{margin:0;color:var(--dim);overflow-wrap:anywhere}
.path{display:flex;justify-content:center;margin:1.5rem 0 0;padding:0;list-style:none;font-size:.875rem}
.path li{padding:.25rem .75rem;border:2px solid var(--ok);border-radius:2rem;background:var(--soft)}
.path li+li{margin-left:clamp(.9rem,4vw,2.25rem);position:relative}
.path li+li:before{content:"";position:absolute;top:50%;right:calc(100% + 2px);width:clamp(.9rem,4vw,2.25rem);border-top:2px solid var(--ok)}
section,.tile{background:var(--card);border:1px solid var(--line);border-radius:1rem;padding:1.25rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(12.5rem,1fr));gap:1rem;margin-bottom:1rem}
h2{margin:0;font-size:.875rem;font-weight:600;color:var(--dim)}
.figure{margin:.15rem 0;font-size:1.5rem;font-weight:700;font-variant-numeric:tabular-nums;line-height:1.3}
.note{margin:0;color:var(--dim);font-size:.8125rem;min-height:1.3em}
svg{display:block;width:100%;height:2rem;margin-top:.5rem}
polyline{fill:none;stroke:var(--ok);stroke-width:2;vector-effect:non-scaling-stroke;stroke-linejoin:round}
button{margin-top:.6rem;padding:.35rem .9rem;border:1px solid var(--dim);border-radius:.5rem;background:none;color:inherit;font:600 .875rem system-ui,sans-serif;cursor:pointer}
button:disabled{opacity:.5;cursor:default}
section{margin-bottom:1rem}
section h2{margin-bottom:.75rem}
table{width:100%;border-collapse:collapse;font-size:.9375rem}
th,td{padding:.4rem 0;border-top:1px solid var(--line);text-align:left;vertical-align:top}
tr:first-child>*{border-top:0}
th{width:11rem;padding-right:1rem;font-weight:400;color:var(--dim)}
td{font-family:ui-monospace,monospace;font-size:.875rem;overflow-wrap:anywhere}
pre{margin:0;overflow-x:auto;font:.875rem/1.7 ui-monospace,monospace}
@media(max-width:34rem){th,td{display:block;width:auto}th{padding-bottom:0}td{border:0;padding-top:0}}`;

const SCRIPT = `'use strict';
const at = (id) => document.getElementById(id);
const show = (id, figure, note) => { at(id).textContent = figure; if (note !== undefined) at(id + '-note').textContent = note; };
const perSecond = (bytes, ms) => (bytes / 1048.576 / ms).toFixed(1) + ' MiB/s';

const trips = [];
function connectEcho() {
  const socket = new WebSocket(location.href.replace(/^http/, 'ws').replace(/[#?].*/, '') + 'ws');
  let timer;
  const ping = () => socket.send(String(performance.now()));
  socket.onopen = () => { ping(); timer = setInterval(ping, 1000); };
  socket.onmessage = (event) => {
    trips.push(performance.now() - Number(event.data));
    const recent = trips.slice(-40);
    const top = Math.max(1, ...recent);
    at('line').setAttribute('points', recent.map((ms, x) => x * 100 / 39 + ',' + (29 - ms / top * 27)).join(' '));
    show('echo', recent[recent.length - 1].toFixed(1) + ' ms', trips.length + ' round trips, best ' + Math.min(...trips).toFixed(1) + ' ms');
  };
  socket.onclose = () => { clearInterval(timer); show('echo', '–', 'Connection lost, trying again …'); setTimeout(connectEcho, 2000); };
}

const events = new EventSource('events');
let received = 0;
events.onmessage = (event) => { received += 1; show('clock', event.data.slice(11, 19), received + ' events, UTC clock of the origin'); };
events.onerror = () => { show('clock', '–', 'Connection lost, trying again …'); };

async function download() {
  const total = 32 * 1048576;
  const startedAt = performance.now();
  const reader = (await fetch('bytes/' + total)).body.getReader();
  let bytes = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    bytes += part.value.length;
    show('down', perSecond(bytes, performance.now() - startedAt), Math.floor(bytes / total * 100) + ' % of 32 MiB');
  }
}

async function upload() {
  const body = new Uint8Array(16 * 1048576);
  for (let from = 0; from < body.length; from += 65536) crypto.getRandomValues(body.subarray(from, from + 65536));
  const startedAt = performance.now();
  show('up', '…', 'sending 16 MiB');
  const answer = await (await fetch('sink', { method: 'POST', body })).json();
  show('up', perSecond(answer.bytes, performance.now() - startedAt), 'the origin counted ' + answer.bytes / 1048576 + ' MiB');
}

function onClick(id, figure, measure) {
  at(id).onclick = async () => {
    at(id).disabled = true;
    try { await measure(); } catch (error) { show(figure, '–', String(error)); }
    at(id).disabled = false;
  };
}

onClick('start-down', 'down', download);
onClick('start-up', 'up', upload);
connectEcho();`;

/** The Content-Security-Policy of the page: its own style and script, and connections to its own origin. */
export const samplePagePolicy = [
  "default-src 'none'",
  `style-src ${hashOf(STYLE)}`,
  `script-src ${hashOf(SCRIPT)}`,
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

function hashOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/** One line of the page: what it is, and the text as it arrived. */
export type Fact = readonly [label: string, value: string];

/** The whole page; `facts` describe the request that asked for it, `throughTunnel` whether a relay had it before. */
export function samplePage(facts: readonly Fact[], throughTunnel: boolean): string {
  const title = throughTunnel ? 'Your tunnel works' : 'Hello from the sample origin';
  const host = facts.find(([label]) => label === 'Host')?.[1] ?? '';
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<header>
<h1>${title}</h1>
${throughTunnel ? arrival(host) : '<p>This request came straight to the origin. Open the public URL to see it through the tunnel.</p>'}
</header>
<div class="tiles">
${tile('echo', 'WebSocket', 'connecting …', '<svg viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true"><polyline id="line" points=""/></svg>')}
${tile('clock', 'Server-sent events', 'connecting …', '')}
${tile('down', 'Download', '32 MiB of noise', '<button id="start-down" type="button">Measure</button>')}
${tile('up', 'Upload', '16 MiB of noise', '<button id="start-up" type="button">Measure</button>')}
</div>
<section>
<h2>The request, as the origin saw it</h2>
<table>
${facts.map(factRow).join('\n')}
</table>
</section>
<section>
<h2>More to try</h2>
<pre>GET  /headers    every field of the request, as JSON
GET  /events     server-sent events
GET  /bytes/N    N bytes, up to 1 GiB
POST /echo       your own bytes back
POST /sink       counts your bytes
GET  /ws         WebSocket echo</pre>
</section>
</main>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

function arrival(host: string): string {
  return `<p>You asked for <b>${escapeHtml(host)}</b>, and this page came all the way from its origin.</p>
<ol class="path" aria-label="The way of this page">
<li>You</li><li>Relay</li><li>Client</li><li>Origin</li>
</ol>`;
}

function tile(id: string, title: string, note: string, more: string): string {
  return `<div class="tile"><h2>${title}</h2><p class="figure" id="${id}">–</p><p class="note" id="${id}-note">${note}</p>${more}</div>`;
}

function factRow([label, value]: Fact): string {
  return `<tr><th scope="row">${escapeHtml(label)}</th><td>${escapeHtml(value)}</td></tr>`;
}
