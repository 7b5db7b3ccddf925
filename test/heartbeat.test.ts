import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { TunnelError } from '../shared/errors.js';
import { DEFAULT_HEARTBEAT, Heartbeat, type HeartbeatLink } from '../shared/heartbeat.js';

const INTERVAL_MS = 3_000;
const STARTED_AT_MS = 1_000_000;

/** A link that writes down what its heartbeat does, with the time at which it does it. */
class LoggingLink implements HeartbeatLink {
  readonly log: string[] = [];
  stalledMs = 0;
  onPing: () => void = () => {};
  readonly #startedAtMs = Date.now();

  ping(): void {
    this.#note('ping');
    this.onPing();
  }

  lost(error: TunnelError): void {
    this.#note(error.code);
  }

  #note(what: string): void {
    this.log.push(`${Date.now() - this.#startedAtMs} ${what}`);
  }
}

/** A heartbeat that has begun, under a clock that only `t.mock.timers` moves. */
function beating(t: TestContext): { link: LoggingLink; heartbeat: Heartbeat } {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: STARTED_AT_MS });
  const link = new LoggingLink();
  const heartbeat = new Heartbeat(link, DEFAULT_HEARTBEAT);
  t.after(() => heartbeat.stop());
  heartbeat.start();
  return { link, heartbeat };
}

/** Lets time pass in steps, so that every timer sees its own time. */
function pass(t: TestContext, ms: number): void {
  for (let step = 0; step < ms; step += 1) t.mock.timers.tick(1);
}

/** The wall clock jumps, as when the machine sleeps; timers come due only afterwards. */
function sleepUntil(t: TestContext, ms: number): void {
  t.mock.timers.setTime(STARTED_AT_MS + ms - 1);
  t.mock.timers.tick(1);
}

test('a silent link is lost after three intervals, which is less than ten seconds', (t) => {
  const { link } = beating(t);
  pass(t, 20_000);
  assert.deepEqual(link.log, ['0 ping', '3000 ping', '6000 ping', '9000 HEARTBEAT_LOST']);
});

test('a link that is heard between any two beats is never lost', (t) => {
  const { link, heartbeat } = beating(t);
  for (let beat = 0; beat < 100; beat += 1) {
    pass(t, INTERVAL_MS);
    heartbeat.heard();
  }
  assert.ok(link.log.every((entry) => entry.endsWith('ping')));
  assert.equal(link.log.length, 101);
});

test('any received frame counts, even just before the last beat', (t) => {
  const { link, heartbeat } = beating(t);
  pass(t, 8_999);
  heartbeat.heard();
  pass(t, 6_000);
  assert.ok(link.log.every((entry) => entry.endsWith('ping')));
  pass(t, 1);
  assert.equal(link.log.at(-1), '15000 HEARTBEAT_LOST');
});

test('wherever in an interval the peer falls silent, it is found dead within ten seconds', (t) => {
  const { link, heartbeat } = beating(t);
  pass(t, INTERVAL_MS + 1);
  heartbeat.heard();
  const silentSince = INTERVAL_MS + 1;
  pass(t, 20_000);
  const lostAt = Number.parseInt(link.log.at(-1) ?? '', 10);
  assert.match(link.log.at(-1) ?? '', /HEARTBEAT_LOST$/);
  assert.ok(lostAt - silentSince < 10_000, `${lostAt - silentSince} ms`);
});

test('a suspected link is asked at once and lost after 1.5 s without an answer', (t) => {
  const { link, heartbeat } = beating(t);
  pass(t, 1_000);
  heartbeat.suspect();
  pass(t, 1_499);
  assert.deepEqual(link.log, ['0 ping', '1000 ping']);
  pass(t, 1);
  assert.deepEqual(link.log, ['0 ping', '1000 ping', '2500 HEARTBEAT_LOST']);
});

test('a suspected link that answers goes on as before', (t) => {
  const { link, heartbeat } = beating(t);
  pass(t, 1_000);
  heartbeat.suspect();
  pass(t, 100);
  heartbeat.heard();
  pass(t, 20_000);
  assert.deepEqual(link.log, ['0 ping', '1000 ping', '2500 ping', '5500 ping', '8500 HEARTBEAT_LOST']);
});

test('suspicions that follow each other do not give a dead link ever more time', (t) => {
  const { link, heartbeat } = beating(t);
  for (let count = 0; count < 20; count += 1) {
    pass(t, 500);
    heartbeat.suspect();
  }
  assert.ok(link.log.includes('2000 HEARTBEAT_LOST'));
});

test('a suspicion does not delay the beat that would find the link dead', (t) => {
  const { link, heartbeat } = beating(t);
  pass(t, 8_900);
  heartbeat.suspect();
  pass(t, 100);
  assert.equal(link.log.at(-1), '9000 HEARTBEAT_LOST');
});

test('a machine that slept asks at once and gives the peer 1.5 s, however silent the link was', (t) => {
  const { link, heartbeat } = beating(t);
  pass(t, 6_000);
  sleepUntil(t, 3_600_000);
  assert.equal(link.log.at(-1), '3600000 ping');
  pass(t, 1_400);
  heartbeat.heard();
  pass(t, 3_000);
  assert.ok(link.log.every((entry) => entry.endsWith('ping')));
});

test('a link that died while the machine slept is lost 1.5 s after it woke', (t) => {
  const { link } = beating(t);
  sleepUntil(t, 3_600_000);
  pass(t, 1_500);
  assert.deepEqual(link.log, ['0 ping', '3600000 ping', '3601500 HEARTBEAT_LOST']);
});

test('a peer that answers pings and takes no bytes for 15 s is lost', (t) => {
  const { link, heartbeat } = beating(t);
  link.stalledMs = 15_000;
  heartbeat.heard();
  pass(t, INTERVAL_MS);
  assert.equal(link.log.at(-1), '3000 ping');
  link.stalledMs = 15_001;
  heartbeat.heard();
  pass(t, INTERVAL_MS);
  assert.equal(link.log.at(-1), '6000 HEARTBEAT_LOST');
});

test('a lost link is reported once, and its heartbeat has stopped', (t) => {
  const { link, heartbeat } = beating(t);
  pass(t, 9_000);
  heartbeat.suspect();
  heartbeat.heard();
  heartbeat.start();
  pass(t, 20_000);
  assert.equal(link.log.filter((entry) => entry.endsWith('LOST')).length, 1);
  assert.equal(link.log.length, 4);
});

test('a stopped heartbeat does nothing, whenever and however often it was stopped', (t) => {
  const { link, heartbeat } = beating(t);
  heartbeat.stop();
  heartbeat.stop();
  heartbeat.start();
  heartbeat.suspect();
  pass(t, 20_000);
  assert.deepEqual(link.log, ['0 ping']);
});

test('a heartbeat that was stopped before it began never begins', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const link = new LoggingLink();
  const heartbeat = new Heartbeat(link, DEFAULT_HEARTBEAT);
  heartbeat.stop();
  heartbeat.start();
  pass(t, 20_000);
  assert.deepEqual(link.log, []);
});

test('a second start changes nothing', (t) => {
  const { link, heartbeat } = beating(t);
  heartbeat.start();
  pass(t, INTERVAL_MS);
  assert.deepEqual(link.log, ['0 ping', '3000 ping']);
});

for (const moment of ['first', 'second'] as const) {
  test(`no timer is left when the ${moment} ping finds that the link is closed and stops the heartbeat`, (t) => {
    t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
    const link = new LoggingLink();
    const heartbeat = new Heartbeat(link, DEFAULT_HEARTBEAT);
    const pings = moment === 'first' ? 1 : 2;
    link.onPing = () => {
      if (link.log.length === pings) heartbeat.stop();
    };
    heartbeat.start();
    pass(t, 20_000);
    assert.equal(link.log.length, pings);
  });
}
