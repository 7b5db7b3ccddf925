/** Orders: not too many at once, one for each name, a bounded queue, and an end. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { OrderBudget, type OrderBudgetOptions } from '../shared/certs/order-budget.js';

function budgetFor(t: TestContext, options?: OrderBudgetOptions): OrderBudget {
  const budget = new OrderBudget(options);
  t.after(() => budget.close());
  return budget;
}

test('no more orders begin in any period than the budget has', async (t) => {
  const [orders, perMs] = [3, 150];
  const budget = budgetFor(t, { orders, perMs });
  const begunMs: number[] = [];
  const names = Array.from({ length: 8 }, (_, index) => `${index}.example.com`);
  await Promise.all(names.map((name) => budget.run(name, async () => void begunMs.push(performance.now()))));
  assert.equal(begunMs.length, names.length);
  for (const [index, atMs] of begunMs.entries()) {
    const later = begunMs[index + orders];
    // The note of the beginning is made a moment after the beginning.
    if (later !== undefined) assert.ok(later - atMs > perMs - 20, `${later - atMs} ms`);
  }
});

test('two who want one name share one order, and a later one orders again', async (t) => {
  const budget = budgetFor(t);
  let orders = 0;
  const order = async () => {
    orders += 1;
    await new Promise(setImmediate);
    return orders;
  };
  assert.deepEqual(
    await Promise.all([budget.run('a', order), budget.run('a', order), budget.run('b', order)]),
    [2, 2, 2],
  );
  assert.equal(await budget.run('a', order), 3);
});

test('a failed order fails for all who share it and is forgotten', async (t) => {
  const budget = budgetFor(t);
  const failing = async () => Promise.reject(new Error('no'));
  const results = await Promise.allSettled([budget.run('a', failing), budget.run('a', failing)]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  assert.equal(await budget.run('a', async () => 'yes'), 'yes');
});

test('a full queue refuses, and close ends what runs and what waits', async (t) => {
  const budget = budgetFor(t, { orders: 1, perMs: 60_000, maxWaiting: 1 });
  const running = budget.run('a', (signal) => {
    return new Promise<never>((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  });
  const waiting = budget.run('b', async () => assert.fail('never its turn'));
  await assert.rejects(
    budget.run('c', async () => {}),
    { code: 'LIMIT_EXCEEDED' },
  );
  budget.close();
  await assert.rejects(running, { code: 'RELAY_DRAINING' });
  await assert.rejects(waiting, { code: 'RELAY_DRAINING' });
  await assert.rejects(
    budget.run('d', async () => {}),
    { code: 'RELAY_DRAINING' },
  );
});
