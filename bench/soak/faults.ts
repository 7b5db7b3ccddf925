/**
 * Faults: decides what goes wrong in a soak, when and for how long; a seed repeats it. Processes are only ended in the first
 * half, so that what is left lives long enough to show a leak.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Ledger } from './ledger.js';
import type { Random } from './random.js';
import type { Traffic } from './traffic.js';
import type { SoakWorld } from './world.js';

export interface FaultsOptions {
  readonly world: SoakWorld;
  readonly traffic: Traffic;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly say: (line: string) => void;
}

interface Fault {
  readonly name: string;
  readonly endsProcess: boolean;
  strike(world: SoakWorld, random: Random): Promise<void>;
}

/** A tunnel that is not back after this long is a failure by itself. */
const RECOVERY_MS = 45_000;
const LOOK_MS = 250;
/** Requests that the fault hit may fail a little later than visitors are served again. */
const AFTER_MS = 3_000;
const QUIET_MS = { least: 6_000, most: 14_000 };

const FAULTS: readonly Fault[] = [
  {
    name: 'client killed',
    endsProcess: true,
    strike: async (world, random) => {
      await world.end('tunnel', 'SIGKILL');
      await pause(random.between(0, 3_000));
      await world.run('tunnel');
    },
  },
  {
    name: 'origin away',
    endsProcess: false,
    strike: async (world, random) => {
      world.origin.stop();
      await pause(random.between(500, 4_000));
      await world.origin.start();
    },
  },
  {
    name: 'relay restarted',
    endsProcess: true,
    strike: async (world, random) => {
      await world.end('relay', random.next() < 0.5 ? 'SIGKILL' : 'SIGTERM');
      await pause(random.between(0, 2_000));
      await world.run('relay');
    },
  },
  {
    name: 'black hole',
    endsProcess: false,
    strike: async (world, random) => {
      world.network.swallow();
      await pause(random.between(2_000, 14_000));
      world.network.restore();
    },
  },
];

/** Lets one fault follow the other until `untilMs` (monotonic). Returns what did not recover; empty when all did. */
export async function letFaultsHappen(options: FaultsOptions, untilMs: number): Promise<string[]> {
  const { random, say } = options;
  const beganAtMs = performance.now();
  const failures: string[] = [];
  for (let count = 0; ; count += 1) {
    await pause(random.between(QUIET_MS.least, QUIET_MS.most));
    const nowMs = performance.now();
    if (nowMs >= untilMs) return failures;
    const mayEnd = nowMs < beganAtMs + (untilMs - beganAtMs) / 2;
    const choice = FAULTS.filter(({ endsProcess }) => mayEnd || !endsProcess);
    // Each kind comes once before the order is left to chance.
    const fault = choice[count < FAULTS.length ? count % choice.length : random.between(0, choice.length - 1)];
    if (fault === undefined) return failures;
    const ms = await suffer(fault, options);
    say(`${fault.name}: ${ms === undefined ? 'not served again' : `served again after ${(ms / 1_000).toFixed(1)} s`}`);
    if (ms === undefined) failures.push(`${fault.name}: visitors were not served again in ${RECOVERY_MS} ms`);
  }
}

/** Milliseconds until visitors were served again; undefined when they were not. */
async function suffer(fault: Fault, { world, traffic, ledger, random }: FaultsOptions): Promise<number | undefined> {
  const window = ledger.begin(fault.name);
  await fault.strike(world, random);
  const untilMs = performance.now() + RECOVERY_MS;
  while (!(await traffic.isServed())) {
    if (performance.now() > untilMs) return undefined;
    await pause(LOOK_MS);
  }
  const ms = performance.now() - window.fromMs;
  await pause(AFTER_MS);
  window.toMs = performance.now();
  return ms;
}
