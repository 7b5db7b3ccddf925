/** Alerts arrive: at a real HTTP server and through a real program in the place of sendmail; no secret is told on the way. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { runAlertTest } from '../relay-server/alert-command.js';
import type { Alert } from '../relay-server/ops/alerts/alert.js';
import { type Channel, DeliveryError } from '../relay-server/ops/alerts/channel.js';
import { Courier } from '../relay-server/ops/alerts/courier.js';
import { ntfyChannel, webhookChannel } from '../relay-server/ops/alerts/http-channels.js';
import { mailChannel, mailOf } from '../relay-server/ops/alerts/mail-channel.js';
import { parseRelayConfig } from '../relay-server/relay-config.js';
import { createLog, type Log } from '../shared/log.js';
import { Secret } from '../shared/secret.js';
import { APP, appTunnel } from './support/carry.js';
import { startHttpOrigin } from './support/origins.js';
import { recordingIo } from './support/recording-io.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { until } from './support/within.js';
import { RelayHome } from './support/world.js';

interface Post {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

const ALERT: Alert = {
  event: 'tunnel-down',
  relay: 'example.com',
  subject: 'https://home.example.com',
  title: 'Down: https://home.example.com',
  text: 'No client has served it for 1m 0s.',
  cure: 'At home: tunnel doctor',
  atMs: Date.UTC(2026, 10, 20),
};

/** An HTTP server that keeps what is posted, and answers as the test says (200 unless told). */
async function startReceiver(t: TestContext, answer: (response: ServerResponse, count: number) => void = ok) {
  const posts: Post[] = [];
  const { url } = await startHttpOrigin(t, (request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      posts.push({ path: `${request.method} ${request.url}`, headers: request.headers, body });
      answer(response, posts.length);
    });
  });
  return { url, posts, events: () => posts.map(({ body }) => JSON.parse(body).event) };
}

function ok(response: ServerResponse): void {
  response.end();
}

/** A program in the place of sendmail: keeps its arguments and its input, then exits with `code`. */
function sendmailIn(folder: string, code = 0): { program: string; mail: () => string } {
  const program = join(folder, 'sendmail');
  const out = join(folder, 'mail');
  const script = `#!/bin/sh\n{ printf '%s ' "$@"; echo; cat; } > '${out}.part' && mv '${out}.part' '${out}'\nexit ${code}\n`;
  writeFileSync(program, script, { mode: 0o755 });
  return { program, mail: () => readFileSync(out, 'utf8') };
}

/** A log whose lines can be searched. */
function recordingLog() {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  return { lines, log: createLog({ level: 'debug', format: 'json', destination }) };
}

test('a relay tells of a tunnel that goes down and comes back, once each, and of nothing else', async (t) => {
  const { url, events, posts } = await startReceiver(t);
  const { lines, log } = recordingLog();
  const secret = 'hook-token-4711';
  const yaml = `alerts: { webhook_url: "${url}/${secret}", down_after: 300ms }\nlimits: { hold_timeout: 100ms }`;
  const relay = await new RelayHome(t, { yaml, log }).start(t);
  const first = await relay.client(t, [appTunnel(`http://127.0.0.1:${await freePort()}`)]);
  // The alerts must have seen it up.
  await until('the first look', () => readMemory(relay.home.config.stateDir).includes(APP) || undefined);
  first.client.close();
  await until('the first alert', () => posts[0]);
  const second = await relay.client(t, [appTunnel(`http://127.0.0.1:${await freePort()}`)]);
  await until('the second alert', () => posts[1]);
  assert.deepEqual(events(), ['tunnel-down', 'tunnel-up']);
  const [down] = posts;
  assert.equal(down?.path, `POST /${secret}`);
  assert.equal(down?.headers['content-type'], 'application/json');
  const body = JSON.parse(down?.body ?? '');
  assert.match(body.subject, new RegExp(`^https://${APP}:`));
  assert.match(body.at, /^\d{4}-.*Z$/);
  assert.deepEqual(Object.keys(body).sort(), ['at', 'cure', 'event', 'relay', 'subject', 'text', 'title']);
  assert.doesNotMatch(lines.join(''), new RegExp(secret));
  second.client.close();
});

test('an alert that waits for its channel outlives a reload; a changed URL makes alerts begin anew', async (t) => {
  const { url, posts } = await startReceiver(t, (response, count) => {
    response.statusCode = count === 1 ? 503 : 200;
    response.end();
  });
  const yaml = `alerts: { webhook_url: "${url}/one", down_after: 100ms }\nlimits: { hold_timeout: 100ms }`;
  const { lines, log } = recordingLog();
  const { home, relay, client } = await startWatched(t, yaml, log);
  client.close();
  await until('the first failure', () => lines.find((line) => line.includes('will try again')));
  const text = readFileSync(home.configFile, 'utf8');
  const reload = (config: string) => relay.reload(parseRelayConfig(config, home.configFile, {}));
  assert.deepEqual((await reload(`${text}drain_timeout: 3s\n`)).applied, ['drain_timeout']);
  await until('the second attempt', () => posts[1]);
  assert.deepEqual(
    posts.map(({ path, body }) => [path, JSON.parse(body).event]),
    [
      ['POST /one', 'tunnel-down'],
      ['POST /one', 'tunnel-down'],
    ],
  );
  assert.deepEqual((await reload(`${text.replace('/one', '/two')}drain_timeout: 3s\n`)).applied, ['alerts']);
});

/** A relay with one client whose tunnel the alerts have seen up. */
async function startWatched(t: TestContext, yaml: string, log: Log) {
  const running = await new RelayHome(t, { yaml, log }).start(t);
  const { home, relay } = running;
  const { client } = await running.client(t, [appTunnel(`http://127.0.0.1:${await freePort()}`)]);
  await until('the first look', () => readMemory(home.config.stateDir).includes(APP) || undefined);
  return { home, relay, client };
}

function readMemory(stateDir: string): string {
  try {
    return readFileSync(join(stateDir, 'alerts.json'), 'utf8');
  } catch {
    return '';
  }
}

test('ntfy gets a title, a priority and its token', async (t) => {
  const { url, posts } = await startReceiver(t);
  const channel = ntfyChannel(new Secret(`${url}/topic`), new Secret('tk_secret'));
  await channel.send({ ...ALERT, title: 'Down: b\u00fccher\r\nX: y' }, new AbortController().signal);
  const [post] = posts;
  assert.deepEqual(
    [post?.path, post?.headers.title, post?.headers.priority, post?.headers.authorization],
    ['POST /topic', 'Down: b?cher??X: y', 'high', 'Bearer tk_secret'],
  );
  assert.match(
    post?.body ?? '',
    /^No client has served it for 1m 0s\.\n→ At home: tunnel doctor\nRelay example\.com, 2026-11-20/,
  );
});

test('mail goes through the program, and no text becomes a field', async (t) => {
  const { program, mail } = sendmailIn(temporaryFolder(t));
  const options = { sendmail: program, to: 'me@example.com', from: 'relay@example.com' };
  await mailChannel(options).send(
    { ...ALERT, title: 'Down: bücher\nBcc: evil@example.com' },
    new AbortController().signal,
  );
  const [args, ...lines] = mail().split('\n');
  assert.equal(args, '-i -f relay@example.com me@example.com ');
  const head = lines.slice(0, lines.indexOf('')).join('\n');
  assert.match(head, /^From: Sallyport <relay@example\.com>\nTo: me@example\.com\nSubject: =\?utf-8\?B\?/);
  assert.doesNotMatch(head, /^Bcc/m);
  assert.match(head, /^Date: \w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} \+0000$/m);
  assert.match(lines.join('\n'), /\n\nNo client has served it/);
  assert.ok(!mailOf({ ...ALERT, text: 'a\n.\nb\u001b[2J' }, options).includes('\u001b'));
});

test('a program that is missing or fails is told apart by whether to try again', async (t) => {
  const send = (sendmail: string) => {
    const channel = mailChannel({ sendmail, to: 'me@example.com', from: undefined });
    return channel.send(ALERT, new AbortController().signal);
  };
  await assert.rejects(send('/nowhere/sendmail'), { message: '/nowhere/sendmail: ENOENT', mayRetry: false });
  await assert.rejects(send(sendmailIn(temporaryFolder(t), 75).program), { mayRetry: true });
  await assert.rejects(send(sendmailIn(temporaryFolder(t), 64).program), { mayRetry: false });
});

test('no failure of a POST tells its URL', async (t) => {
  const moved = await startReceiver(t, (response) => response.writeHead(302, { Location: '/elsewhere' }).end());
  const refused = `http://127.0.0.1:${await freePort()}`;
  const cut = await startReceiver(t, (response) => response.destroy());
  const expected: [string, boolean, RegExp][] = [
    [moved.url, false, /^it answered 302$/],
    [refused, true, /^ECONNREFUSED$/],
    [cut.url, true, /^ECONNRESET$/],
    ['http://no-such-host.invalid', true, /^ENOTFOUND|EAI_AGAIN$/],
  ];
  for (const [url, mayRetry, message] of expected) {
    await assert.rejects(
      webhookChannel(new Secret(`${url}/s3cret`)).send(ALERT, new AbortController().signal),
      (error) => {
        assert.ok(error instanceof DeliveryError);
        assert.match(error.message, message);
        assert.equal(error.mayRetry, mayRetry);
        return true;
      },
    );
  }
  assert.equal(moved.posts.length, 1);
});

test('an alert is tried again until it is taken, and the next one waits for it', async (t) => {
  const { url, events } = await startReceiver(t, (response, count) => {
    response.statusCode = count <= 2 ? 503 : 200;
    response.end();
  });
  const { lines, log } = recordingLog();
  const courier = new Courier({ channel: webhookChannel(new Secret(`${url}/s3cret`)), log, retryMs: [1, 1, 1] });
  t.after(() => courier.close());
  courier.send(ALERT);
  courier.send({ ...ALERT, event: 'tunnel-up' });
  await until('the second alert', () => events()[3]);
  assert.deepEqual(events(), ['tunnel-down', 'tunnel-down', 'tunnel-down', 'tunnel-up']);
  assert.match(lines[0] ?? '', /it answered 503/);
  assert.doesNotMatch(lines.join(''), /s3cret/);
});

test('a channel that is down for long loses the oldest alerts and says how many', async () => {
  const { lines, log } = recordingLog();
  const texts: string[] = [];
  let open: () => void = () => {};
  const channel: Channel = {
    name: 'webhook',
    send: async ({ text }) => {
      texts.push(text);
      if (texts.length === 1) await new Promise<void>((resolve) => (open = resolve));
    },
  };
  const courier = new Courier({ channel, log });
  for (let at = 0; at < 100; at += 1) courier.send({ ...ALERT, text: String(at) });
  open();
  await until('the rest', () => texts[64]);
  assert.match(texts[1] ?? '', /^36 \(35 earlier alerts were lost/);
  assert.deepEqual([texts.length, texts[2], texts[64], lines], [65, '37', '99', []]);
});

test('a refusal that no retry can cure is given up at once; close ends a wait', async () => {
  const { lines, log } = recordingLog();
  const failing = (mayRetry: boolean): Channel => ({
    name: 'ntfy',
    send: () => Promise.reject(new DeliveryError('it answered 403', mayRetry)),
  });
  new Courier({ channel: failing(false), log }).send(ALERT);
  await until('the log', () => lines.find((line) => line.includes('alert given up')));
  const waiting = new Courier({ channel: failing(true), log, retryMs: [60_000] });
  waiting.send(ALERT);
  await until('the log', () => lines.find((line) => line.includes('will try again')));
  waiting.close();
  waiting.close();
});

test('relay alert test sends through every channel and says which took it', async (t) => {
  const { url, events } = await startReceiver(t);
  const folder = temporaryFolder(t);
  const { program, mail } = sendmailIn(folder);
  writeFileSync(join(folder, 'hook'), `${url}/s3cret\n`, { mode: 0o600 });
  const config = join(folder, 'relay.yaml');
  const ntfy = `http://127.0.0.1:${await freePort()}/topic`;
  const alerts = (more: string) =>
    writeFileSync(config, `domain: example.com\nalerts: { webhook_url_file: hook, ${more} }\n`, { mode: 0o600 });
  alerts(`mail_to: me@example.com, sendmail: ${program}`);
  const io = recordingIo();
  assert.equal(await runAlertTest({ config }, io), 0);
  assert.deepEqual(io.printed, ['webhook: sent', 'mail: sent']);
  assert.deepEqual(events(), ['test']);
  assert.match(mail(), /^Subject: \[example\.com\] Test of the alerts of example\.com$/m);
  alerts(`ntfy_url: "${ntfy}"`);
  const failing = recordingIo();
  assert.equal(await runAlertTest({ config }, failing), 69);
  assert.deepEqual(failing.printed, ['webhook: sent', 'ntfy: ECONNREFUSED']);
  writeFileSync(config, 'domain: example.com\n');
  await assert.rejects(runAlertTest({ config }, recordingIo()), { code: 'CONFIG_INVALID' });
});

test('what is wrong under alerts is told without the secret', () => {
  const refusal = (alerts: string) => {
    try {
      parseRelayConfig(`domain: example.com\nalerts: { ${alerts} }`, 'relay.yaml', {});
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(refusal('webhook_url: "ftp://x/hunter2"'), /alerts\.webhook_url must be an http or https URL/);
  assert.match(refusal('ntfy_token: hunter2'), /ntfy_token has no effect without ntfy_url/);
  assert.match(refusal('mail_to: "-oQ/tmp@x"'), /mail_to must be an e-mail address/);
  for (const alerts of ['webhook_url: hunter2', 'webhook_url: "https://me:hunter2@x/"', 'ntfy_token: hunter2']) {
    assert.doesNotMatch(refusal(alerts), /hunter2/);
  }
});

test('a channel that takes no alert is told to Prometheus, until it takes one again', async (t) => {
  let isBroken = true;
  const receiver = await startReceiver(t, (response) => {
    if (isBroken) response.statusCode = 500;
    response.end();
  });
  const channel = webhookChannel(new Secret(receiver.url));
  const courier = new Courier({ channel, log: recordingLog().log, retryMs: [20] });
  t.after(() => courier.close());
  const failing = (wanted: boolean) =>
    until(`failing ${wanted}`, () => (courier.health.isFailing === wanted ? true : undefined));
  assert.deepEqual(courier.health, { name: 'webhook', isFailing: false });
  courier.send(ALERT);
  await failing(true);
  isBroken = false;
  courier.send(ALERT);
  await failing(false);
});
