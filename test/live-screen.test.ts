/** The live screen: what it says, that it draws in place and calmly, and that no text can take the terminal over. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { displayWidth } from '../shared/command/terminal-text.js';
import type { ClientStatus, HomeCertificate } from '../tunnel-client/ops/client-status.js';
import { LiveScreen } from '../tunnel-client/screen/live-screen.js';
import { clientStatus, tunnelStatus } from './support/client-status.js';
import { Terminal } from './support/terminal.js';

const NOW_MS = 1_800_000_000_000;

interface Scene {
  readonly terminal: Terminal;
  readonly screen: LiveScreen;
  show(status: ClientStatus): void;
}

/** A started screen under a clock that the test moves. */
function scene(t: TestContext, status = clientStatus(), options = { columns: 80, rows: 24, colors: false }): Scene {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: NOW_MS });
  const terminal = new Terminal(options.columns, options.rows);
  let current = status;
  const screen = new LiveScreen(terminal, () => current, { colors: options.colors });
  t.after(() => screen.stop());
  screen.start();
  const show = (next: ClientStatus): void => {
    current = next;
    t.mock.timers.tick(200);
    screen.update();
  };
  return { terminal, screen, show };
}

test('a serving client shows relay, state, links, and each tunnel with its visitors', (t) => {
  const { terminal } = scene(t);
  assert.equal(
    terminal.text,
    `Sallyport 0.1.0
Relay   example.com
State   ● serving · up 3m 12s
Links   12 ms (3 streams) · … (0 streams)

● home
  https://home.example.com → http://127.0.0.1:8123
  1 visitor now, 20 in total · in 0 B/s · out 0 B/s`,
  );
});

test('a reason that is wider than the terminal goes on below, whole words, at its indent', (t) => {
  const message =
    "Cannot open link to example.com:443: the relay's certificate is signed by nobody this machine trusts (Corp Root).";
  const lastError = { code: 'LINK_LOST', message, atMs: NOW_MS - 5_000 } as const;
  const { terminal } = scene(t, clientStatus({ state: 'waiting', retryInMs: 1_000, lastError, tunnels: [] }));
  assert.ok(terminal.text.replaceAll(/\n {4}(?! )/g, ' ').includes(message), terminal.text);
  assert.doesNotMatch(terminal.text, /…/);
});

test('a waiting client shows why, counts down, and says what to do', (t) => {
  const lastError = { code: 'LINK_LOST', message: 'Cannot reach relay', atMs: NOW_MS - 5_000 } as const;
  const tunnels = [tunnelStatus({ state: 'offline' })];
  const { terminal } = scene(
    t,
    clientStatus({ state: 'waiting', retryInMs: 3_200, reconnects: 1, lastError, tunnels }),
  );
  assert.match(terminal.text, /● waiting, next attempt in 4s · up 3m 12s · 1 reconnect\n/);
  assert.match(terminal.text, /✗ LINK_LOST \(5s ago\) Cannot reach relay\n {4}Check the internet connection/);
  assert.match(terminal.text, /● home \(offline\)\n/);
});

test('an origin failure of a working tunnel is shown with its cure, for five minutes', (t) => {
  const lastError = { code: 'ORIGIN_REFUSED', message: 'Cannot reach origin', atMs: NOW_MS } as const;
  const { terminal, screen } = scene(t, clientStatus({ tunnels: [tunnelStatus({ lastError, failures: 2 })] }));
  assert.match(terminal.text, /2 failures\n {2}✗ ORIGIN_REFUSED \(0s ago\) Cannot reach origin\n {4}Start the app/);
  t.mock.timers.tick(299_000);
  screen.update();
  assert.match(terminal.text, /ORIGIN_REFUSED/);
  t.mock.timers.tick(1_000);
  assert.doesNotMatch(terminal.text, /ORIGIN_REFUSED/);
});

test('rates come from the bytes of the last second', (t) => {
  const { terminal, show } = scene(t, clientStatus({ tunnels: [tunnelStatus({ bytesIn: 1_000, bytesOut: 0 })] }));
  show(clientStatus({ tunnels: [tunnelStatus({ bytesIn: 3_048, bytesOut: 3 * 1_048_576 })] }));
  assert.match(terminal.text, /in 0 B\/s · out 0 B\/s/);
  t.mock.timers.tick(800);
  assert.match(terminal.text, /in 2\.0 KiB\/s · out 3\.0 MiB\/s/);
  t.mock.timers.tick(1_000);
  assert.match(terminal.text, /in 0 B\/s · out 0 B\/s/);
});

test('an update rewrites the changed line and nothing else', (t) => {
  const { terminal, show } = scene(t);
  show(clientStatus({ uptimeMs: 193_000 }));
  const drawing = terminal.writes.at(-1) ?? '';
  assert.equal(drawing.split('\x1b[2K').length - 1, 1);
  assert.match(drawing, /up 3m 13s/);
  assert.doesNotMatch(drawing, /home/);
});

test('nothing is written while nothing changes', (t) => {
  const { terminal, screen } = scene(t);
  for (let second = 0; second < 10; second++) {
    t.mock.timers.tick(1_000);
    screen.update();
  }
  assert.equal(terminal.writes.length, 1);
});

test('it draws at most five times a second, and the last update is never lost', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: NOW_MS });
  const terminal = new Terminal();
  let totalStreams = 0;
  const screen = new LiveScreen(terminal, () => clientStatus({ tunnels: [tunnelStatus({ totalStreams })] }));
  t.after(() => screen.stop());
  screen.start();
  for (let step = 0; step < 99; step++) {
    totalStreams += 1;
    screen.update();
    t.mock.timers.tick(10);
  }
  assert.ok(terminal.writes.length <= 6, `${terminal.writes.length} drawings`);
  t.mock.timers.tick(200);
  assert.match(terminal.text, /99 in total/);
});

const anyStatus = fc
  .record({
    state: fc.constantFrom('connecting', 'serving', 'waiting', 'failed', 'stopping'),
    tunnels: fc.array(fc.record({ url: fc.string({ maxLength: 90 }), failures: fc.nat(3) }), { maxLength: 8 }),
  })
  .map(({ state, tunnels }) => {
    const named = tunnels.map((tunnel, at) => tunnelStatus({ ...tunnel, name: `t${at}` }));
    return clientStatus({ state, tunnels: named });
  });

/** Shows one status after the other, and compares what stands below the prompt with a drawing from scratch. */
function assertDrawnInPlace(
  t: TestContext,
  terminal: Terminal,
  steps: readonly { status: ClientStatus; columns: number }[],
): void {
  terminal.write('$ tunnel up\r\n');
  let current = clientStatus();
  const screen = new LiveScreen(terminal, () => current, { colors: true });
  screen.start();
  for (const { status, columns } of steps) {
    current = status;
    if (columns !== terminal.columns) terminal.resize(columns);
    t.mock.timers.tick(200);
    screen.update();
    const fresh = new Terminal(columns, terminal.rows);
    const other = new LiveScreen(fresh, () => current, { colors: true });
    other.start();
    other.stop();
    assert.equal(terminal.text, `$ tunnel up\n${fresh.text}`);
    assert.deepEqual(terminal.cursor, { row: fresh.cursor.row + 1, column: 0 });
    assert.equal(terminal.isCursorVisible, true);
  }
  screen.stop();
}

test('whatever changes, the drawing is replaced in place and what was printed before stays', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: NOW_MS });
  const rows = fc.integer({ min: 2, max: 30 });
  fc.assert(
    fc.property(rows, fc.array(anyStatus, { maxLength: 10 }), (height, statuses) => {
      const steps = statuses.map((status) => ({ status, columns: 60 }));
      assertDrawnInPlace(t, new Terminal(60, height), steps);
    }),
    { numRuns: 50 },
  );
});

test('a resized terminal shows one drawing, in its new width', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: NOW_MS });
  const step = fc.record({ status: anyStatus, columns: fc.integer({ min: 12, max: 120 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 10 }), (steps) => {
      assertDrawnInPlace(t, new Terminal(80, 1_000), steps);
    }),
    { numRuns: 50 },
  );
});

function withoutOwnSequences(drawing: string): string {
  return ['\x1b[?25l', '\x1b[?25h', '\x1b[2K', '\r\n'].reduce((text, own) => text.replaceAll(own, ''), drawing);
}

test('a narrow terminal cuts lines by display width instead of wrapping them', (t) => {
  const tunnels = [tunnelStatus({ name: '日本語のサーバー', url: `https://${'x'.repeat(200)}.example.com` })];
  for (const columns of [1, 2, 9, 20, 33]) {
    const writes: string[] = [];
    const output = { columns, rows: 24, write: (text: string) => writes.push(text), on() {}, off() {} };
    const screen = new LiveScreen(output, () => clientStatus({ tunnels }), { colors: false });
    t.after(() => screen.stop());
    screen.start();
    for (const line of (writes[0] ?? '').split('\r\n')) {
      const text = withoutOwnSequences(line);
      assert.ok(displayWidth(text) <= Math.max(1, columns - 1), JSON.stringify(text));
    }
  }
});

test('a screen that is too small for everything says so in its last line', (t) => {
  const { terminal } = scene(t, clientStatus(), { columns: 80, rows: 5, colors: false });
  assert.equal(terminal.text.split('\n').length, 4);
  assert.ok(terminal.text.endsWith('\n…'));
});

test('no text from outside can write a control character', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: NOW_MS });
  const hostile = fc.string({ unit: 'binary' }).map((text) => `\x1b]0;owned\x07\x1b[2J\u202e${text}\u009b31m`);
  fc.assert(
    fc.property(hostile, (text) => {
      const lastError = { code: 'ORIGIN_REFUSED', message: text, atMs: NOW_MS } as const;
      const tunnel = tunnelStatus({ name: text, url: text, origin: text, lastError });
      const writes: string[] = [];
      const output = { columns: 5_000, rows: 50, write: (drawing: string) => writes.push(drawing), on() {}, off() {} };
      const status = clientStatus({ state: 'waiting', relay: text, version: text, tunnels: [tunnel], lastError });
      const screen = new LiveScreen(output, () => status, { colors: false });
      screen.start();
      screen.stop();
      assert.doesNotMatch(withoutOwnSequences(writes.join('')), /[\p{Cc}\p{Cf}\p{Cs}]/u);
    }),
  );
});

test('colours are written only when asked for', (t) => {
  const { terminal } = scene(t, clientStatus(), { columns: 80, rows: 24, colors: true });
  assert.ok(terminal.writes[0]?.includes('\x1b[32m● serving\x1b[0m'));
  const { terminal: plain } = sceneWith(t, 'NO_COLOR', '1');
  assert.ok(!plain.writes[0]?.includes('\x1b[32m'));
  assert.ok(plain.writes[0]?.includes('● serving'));
});

/** A screen with default options while an environment variable is set. */
function sceneWith(t: TestContext, name: string, value: string): { terminal: Terminal } {
  const before = process.env[name];
  process.env[name] = value;
  t.after(() => {
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  });
  const terminal = new Terminal();
  const screen = new LiveScreen(terminal, () => clientStatus());
  t.after(() => screen.stop());
  screen.start();
  return { terminal };
}

test('lines printed above stay, and the drawing moves down', (t) => {
  const { terminal, screen } = scene(t);
  screen.printAbove('first\nsecond\n');
  screen.stop();
  screen.printAbove('after the end');
  const lines = terminal.text.split('\n');
  assert.deepEqual(lines.slice(0, 3), ['first', 'second', 'Sallyport 0.1.0']);
  assert.equal(lines.at(-1), 'after the end');
  assert.equal(lines.filter((line) => line.startsWith('Sallyport')).length, 1);
});

test('typed text below the drawing does not shift it', (t) => {
  const { terminal, show } = scene(t);
  terminal.write('^C');
  show(clientStatus({ state: 'stopping' }));
  assert.match(terminal.text, /^Sallyport 0\.1\.0\nRelay {3}example\.com\nState {3}● stopping/);
});

test('after a suspension the drawing starts anew below what the shell wrote', (t) => {
  const { terminal, show } = scene(t);
  terminal.write('^Z\r\n[1]+ Stopped\r\n$ fg\r\ntunnel up\r\n');
  process.emit('SIGCONT');
  show(clientStatus({ uptimeMs: 200_000 }));
  assert.match(terminal.text, /up 3m 12s[\s\S]*\[1\]\+ Stopped\n\$ fg\ntunnel up\nSallyport[\s\S]*up 3m 20s/);
});

test('stop shows the last state, ends the timers, and is safe in every state', (t) => {
  const { terminal, screen, show } = scene(t);
  show(clientStatus({ state: 'stopping' }));
  show(clientStatus({ state: 'stopped' }));
  screen.stop();
  assert.match(terminal.text, /● stopped/);
  const { length } = terminal.writes;
  screen.stop();
  screen.update();
  screen.start();
  show(clientStatus());
  t.mock.timers.tick(10_000);
  assert.equal(terminal.writes.length, length);
  assert.equal(terminal.isCursorVisible, true);
  assert.equal(terminal.listenerCount('resize'), 0);
});

test('a screen that never started stops without a trace', () => {
  const terminal = new Terminal();
  const screen = new LiveScreen(terminal, () => clientStatus());
  screen.stop();
  screen.start();
  assert.deepEqual(terminal.writes, []);
});

test('a terminal that goes away ends the screen and nothing else', (t) => {
  const { terminal, show } = scene(t);
  terminal.emit('error', new Error('EIO'));
  const { length } = terminal.writes;
  show(clientStatus({ uptimeMs: 999_000 }));
  assert.equal(terminal.writes.length, length);
  terminal.emit('error', new Error('EIO'));
});

test('an end-to-end tunnel shows its certificate', (t) => {
  const certificate = { state: 'issuing', caa: [] } as const;
  const status = (changes: Partial<HomeCertificate>) =>
    clientStatus({ tunnels: [tunnelStatus({ tls: 'end-to-end', certificate: { ...certificate, ...changes } })] });
  const { terminal, show } = scene(t, status({}));
  assert.match(
    terminal.text,
    /8123\n {2}end-to-end: getting a certificate; visitors are turned away until it is there\n/,
  );
  show(status({ state: 'valid', issuer: 'ca', notAfterMs: NOW_MS + 86_400_000 }));
  assert.match(terminal.text, /8123\n {2}end-to-end: certificate valid until 2027-01-16, from ca\n/);
});
