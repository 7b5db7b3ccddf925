/** What `tunnel up` writes where nobody watches a screen: lines, JSON, or URLs alone. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type ClientEvent,
  createOutput,
  formatJson,
  formatPlain,
  formatQuiet,
  type OutputMode,
  type PlainOutput,
} from '../tunnel-client/screen/plain-output.js';

const home = { name: 'home', url: 'https://home.example.com', origin: 'http://127.0.0.1:8123' };
const lost = { code: 'LINK_LOST', message: 'Cannot keep link: connection reset' } as const;

class Recorder extends EventEmitter {
  readonly lines: string[] = [];

  write(text: string): boolean {
    assert.ok(text.endsWith('\n') && text.indexOf('\n') === text.length - 1, 'one line per write');
    this.lines.push(text.slice(0, -1));
    return true;
  }
}

function record(mode: OutputMode, run: (output: PlainOutput) => void): string[] {
  const stdout = new Recorder();
  run(createOutput(mode, stdout, () => 1_800_000_000_000));
  return stdout.lines;
}

function everything(output: PlainOutput): void {
  output.up(home);
  output.down({ name: home.name, url: home.url, ...lost });
  output.denied({ name: 'vault', code: 'HOSTNAME_TAKEN', message: 'Cannot claim vault.example.com: it is taken' });
  output.reconnecting({ ...lost, retryInMs: 3_210 });
  output.up(home);
  output.down({ name: home.name, url: home.url });
  output.failed({ code: 'TOKEN_REJECTED', message: 'Cannot log in: token is revoked', exitCode: 77 });
  output.stopped();
}

test('plain mode writes a line per event, with the cure behind the failure', () => {
  const lines = record('plain', everything);
  assert.equal(lines[0], 'home is up: https://home.example.com -> http://127.0.0.1:8123');
  assert.equal(
    lines[1],
    'home is down: https://home.example.com, LINK_LOST: Cannot keep link: connection reset (Check the internet connection of this machine and that the relay is running.)',
  );
  assert.match(lines[2] ?? '', /^vault was denied: HOSTNAME_TAKEN: Cannot claim .* \(Choose another hostname/);
  assert.match(lines[3] ?? '', /^reconnecting in 3\.2s: LINK_LOST: /);
  assert.equal(formatPlain({ event: 'reconnecting', ...lost, retryInMs: 12 }).split(':')[0], 'reconnecting now');
  assert.equal(lines[5], 'home is down: https://home.example.com');
  assert.match(lines[6] ?? '', /^failed: TOKEN_REJECTED: /);
  assert.equal(lines[7], 'stopped');
});

test('a tunnel without its certificate is up, but says what it waits for', () => {
  const text = formatPlain({ event: 'up', ...home, waitsForCertificate: true });
  assert.equal(text, 'home is up, waiting for its certificate: https://home.example.com -> http://127.0.0.1:8123');
});

test('a message that names its cure gets no second one', () => {
  const message =
    "Cannot claim a.example.com: TLS of it ends at home. Write tls: end-to-end, or do: relay host forget 'a'";
  const text = formatPlain({ event: 'denied', name: 'a', code: 'NOT_GRANTED', message });
  assert.equal(text, `a was denied: NOT_GRANTED: ${message}`);
});

test('JSON mode writes one object per event; up carries name, url and origin', () => {
  const events = record('json', everything).map((line) => JSON.parse(line));
  assert.deepEqual(events[0], { time: '2027-01-15T08:00:00.000Z', event: 'up', ...home });
  const names = events.map((event) => event.event);
  assert.deepEqual(names, ['up', 'down', 'denied', 'reconnecting', 'up', 'down', 'failed', 'stopped']);
  assert.equal(events[3].retryInMs, 3_210);
  assert.equal(events[6].exitCode, 77);
});

test('quiet mode writes each URL alone and once', () => {
  const lines = record('quiet', (output) => {
    everything(output);
    output.up({ name: 'ssh', url: 'tcp://example.com:2222', origin: 'tcp://127.0.0.1:22' });
  });
  assert.deepEqual(lines, ['https://home.example.com', 'tcp://example.com:2222']);
});

test('text from outside stays on its line and cannot control a terminal', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const hostile = `\x1b[2J\u202e\n${text}`;
      const events: ClientEvent[] = [
        { event: 'up', name: hostile, url: hostile, origin: hostile },
        { event: 'denied', name: hostile, code: 'NOT_GRANTED', message: hostile },
      ];
      for (const event of events) {
        const json = formatJson(event, 0);
        assert.equal(JSON.parse(json).name, hostile);
        for (const line of [json, formatPlain(event), formatQuiet(event) ?? '']) {
          assert.doesNotMatch(line, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
        }
      }
    }),
  );
});

test('an output whose reader left stops writing', () => {
  const stdout = new Recorder();
  const output = createOutput('plain', stdout);
  output.up(home);
  stdout.emit('error', new Error('EPIPE'));
  output.stopped();
  assert.equal(stdout.lines.length, 1);
});

test('a certificate is told of when it is ordered, fails and comes; the first one with the records for DNS', () => {
  const nothing = { issuer: undefined, notAfter: undefined, error: undefined, retryAt: undefined, caa: [] };
  const certificate = { ...nothing, name: 'vault', host: 'vault.example.com' };
  const valid = { ...certificate, state: 'valid', issuer: 'ca', notAfter: '2027-01-01T00:00:00.000Z' } as const;
  const failure = { state: 'failed', error: 'It saw X. Do Y.', retryAt: '2027-01-02T00:00:00.000Z' } as const;
  const run = (output: PlainOutput) => {
    output.certificate({ ...certificate, state: 'issuing' });
    output.certificate({ ...certificate, ...failure });
    output.certificate({ ...valid, caa: ['vault.example.com. CAA 0 issuewild ";"'] });
    output.certificate({ ...valid, ...failure });
  };
  assert.deepEqual(record('plain', run), [
    'vault has no certificate yet: getting one for vault.example.com',
    'vault got no certificate: It saw X. Do Y. Next attempt: 2027-01-02T00:00:00.000Z.',
    'vault has a certificate for vault.example.com until 2027-01-01T00:00:00.000Z, from ca',
    'with these DNS records nobody else, not even the relay, can get a certificate for its name:',
    'vault.example.com. CAA 0 issuewild ";"',
    'vault got no certificate: It saw X. Do Y. Next attempt: 2027-01-02T00:00:00.000Z. The one until 2027-01-01T00:00:00.000Z serves on.',
  ]);
  assert.deepEqual(record('quiet', run), []);
  const [issuing, , came] = record('json', run).map((line) => JSON.parse(line));
  assert.deepEqual(
    [issuing.event, issuing.state, issuing.name, issuing.notAfter],
    ['certificate', 'issuing', 'vault', undefined],
  );
  assert.deepEqual([came.notAfter, came.caa.length], ['2027-01-01T00:00:00.000Z', 1]);
});
