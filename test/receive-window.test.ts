/** Windows of many streams that share a budget, whatever peers send and readers take. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { INITIAL_WINDOW_BYTES } from '../shared/mux/frame.js';
import { ReceiveWindow, type WindowLender } from '../shared/mux/receive-window.js';
import { WindowBudget } from '../shared/mux/window-budget.js';

const WINDOW = INITIAL_WINDOW_BYTES;
const RTT_MS = 80;

/** A lender without a limit of its own for each window. */
function lenderOf(budget: WindowBudget): WindowLender {
  return {
    leastRttMs: RTT_MS,
    borrowWindow: (windowBytes) => budget.take(windowBytes),
    returnWindow: (bytes) => budget.giveBack(bytes),
  };
}

/** One stream: what its peer sent, what its reader took of it, and what the peer was credited. */
class Flow {
  readonly window: ReceiveWindow;
  sent = 0;
  taken = 0;
  credited = 0;

  constructor(budget: WindowBudget) {
    this.window = new ReceiveWindow(lenderOf(budget));
  }

  /** The peer sends a share of what it may. */
  send(share: number): void {
    const bytes = Math.floor(this.window.roomBytes * share);
    this.window.fill(bytes);
    this.sent += bytes;
  }

  /** The reader takes a share of what waits for it. */
  take(share: number): void {
    const bytes = Math.floor((this.sent - this.taken) * share);
    this.taken += bytes;
    this.credited += this.window.take(bytes);
  }

  /** What waits for the reader, and what the peer may add to it. */
  get heldBytes(): number {
    return this.sent - this.taken + this.window.roomBytes;
  }
}

const SHARE = fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true }));
const STEP = fc.record({
  at: fc.nat({ max: 3 }),
  does: fc.constantFrom('send', 'take', 'take', 'over'),
  share: SHARE,
  afterMs: fc.constantFrom(0, 1, RTT_MS, 10 * RTT_MS),
});

test('no window promises more than its peer was credited, and all of them together no more than the budget', (t) => {
  let nowMs = 1_000;
  t.mock.method(performance, 'now', () => nowMs);
  const property = fc.property(fc.nat({ max: 64 * WINDOW }), fc.array(STEP, { maxLength: 300 }), (limit, steps) => {
    const budget = new WindowBudget(limit);
    const flows = Array.from({ length: 4 }, () => new Flow(budget));
    for (const { at, does, share, afterMs } of steps) {
      nowMs += afterMs;
      const flow = flows[at] ?? assert.fail();
      if (does === 'over') {
        flow.window.release();
        flows[at] = new Flow(budget);
      } else flow[does](share);
      for (const each of flows) {
        assert.equal(each.window.roomBytes, WINDOW + each.credited - each.sent);
        assert.ok(each.window.roomBytes >= 0);
      }
      const mostBytes = flows.reduce((sum, { heldBytes }) => sum + heldBytes, 0);
      assert.ok(mostBytes <= flows.length * WINDOW + budget.usedBytes, `${mostBytes} bytes may wait`);
      assert.ok(budget.usedBytes <= limit);
    }
    for (const { window } of flows) window.release();
    assert.equal(budget.usedBytes, 0);
  });
  fc.assert(property, { numRuns: 300 });
});

test('credit comes for what was taken and for nothing else, and at most one piece of it is owed', (t) => {
  let nowMs = 1_000;
  t.mock.method(performance, 'now', () => nowMs);
  const property = fc.property(fc.array(SHARE, { minLength: 1, maxLength: 200 }), (shares) => {
    const budget = new WindowBudget(64 * WINDOW);
    const flow = new Flow(budget);
    for (const share of shares) {
      nowMs += 1;
      flow.send(1);
      flow.take(share);
      const grownBytes = budget.usedBytes;
      const owedBytes = flow.taken - (flow.credited - grownBytes);
      assert.ok(owedBytes >= 0);
      assert.ok(owedBytes < Math.max(WINDOW / 2, (WINDOW + grownBytes) / 4), `${owedBytes} of ${WINDOW + grownBytes}`);
    }
  });
  fc.assert(property);
});

test('a reader that keeps up has a window of at least two round trips, and of less than six', (t) => {
  for (const bytesPerMs of [1_000, 10_000, 100_000]) {
    let nowMs = 1_000;
    t.mock.method(performance, 'now', () => nowMs);
    const budget = new WindowBudget(1_024 * WINDOW);
    const flow = new Flow(budget);
    for (let ms = 0; ms < 50 * RTT_MS; ms += 1) {
      nowMs += 1;
      flow.window.fill(bytesPerMs);
      flow.credited += flow.window.take(bytesPerMs);
    }
    const windowMs = (WINDOW + budget.usedBytes) / bytesPerMs;
    assert.ok(windowMs >= 2 * RTT_MS, `${windowMs} ms at ${bytesPerMs} bytes/ms`);
    if (budget.usedBytes > 0) assert.ok(windowMs < 6 * RTT_MS, `${windowMs} ms at ${bytesPerMs} bytes/ms`);
    t.mock.restoreAll();
  }
});

test('a second window finds half of what the first one left, also when the first wants everything', () => {
  const budget = new WindowBudget(1_000);
  assert.equal(budget.take(10_000), 500);
  assert.equal(budget.take(10_000), 250);
  assert.equal(budget.take(100), 100);
  assert.equal(budget.usedBytes, 850);
  budget.giveBack(500);
  assert.equal(budget.take(10_000), 325);
});

test('a budget of nothing lends nothing', () => {
  for (const limit of [0, 1]) assert.equal(new WindowBudget(limit).take(WINDOW), 0);
});
