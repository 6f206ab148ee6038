import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../../test/support/database.ts';
import { parseConfig } from '../../config/load.ts';
import { createDatabase, type Database, type Queryer } from '../../database/pool.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createPullLimits, type PullLimits } from './pulls.ts';
import { createSharedPulls, type SharedPulls } from './shared-pulls.ts';

let facts: TestDatabase;
let database: Database;
const open: SharedPulls[] = [];
beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 5, hotLanes: 1 });
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((shared) => shared.close()));
  await database.query('DELETE FROM rate_limits');
  vi.useRealTimers();
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});

const logger = createLogger(parseConfig({ BERTH_LOG_LEVEL: 'silent' }).log);

/** One process of several, as far as pulls go. */
function processOf(limit: number, queryer: Queryer = database): SharedPulls & { pulls: PullLimits } {
  const shared = createSharedPulls(queryer, logger);
  open.push(shared);
  return { ...shared, pulls: createPullLimits({ anonymousPullsPer6Hours: limit, accountPullsPer6Hours: 0 }, shared)! };
}

async function pull(process: { pulls: PullLimits }, address: string, times = 1): Promise<number> {
  let remaining = 0;
  for (let i = 0; i < times; i += 1) remaining = (await process.pulls.pull(null, address, true))!.remaining;
  return remaining;
}
const remainingAt = async (process: { pulls: PullLimits }, address: string): Promise<number> =>
  (await process.pulls.pull(null, address, false))!.remaining;

test('processes learn of each other with their next exchange, and none is counted twice', async () => {
  const [one, other] = [processOf(10), processOf(10)];
  expect(await pull(one, '203.0.113.7', 3)).toBe(7);
  expect(await pull(other, '203.0.113.7', 2)).toBe(8);
  await one.exchange();
  await one.exchange();
  await other.exchange();
  expect(await remainingAt(other, '203.0.113.7')).toBe(5);
  // The first hears of it when it has something to tell itself.
  expect(await pull(one, '203.0.113.7')).toBe(6);
  await one.exchange();
  expect(await remainingAt(one, '203.0.113.7')).toBe(4);
  expect(await remainingAt(one, '203.0.113.8')).toBe(10);
});

test('many processes come to the same sum, in whatever order they tell it', async () => {
  let run = 0;
  const step = fc.record({ process: fc.nat(2), times: fc.integer({ min: 1, max: 9 }), tell: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 15 }), async (steps) => {
      run += 1;
      const address = `2001:db8:${run.toString(16)}::1`;
      const processes = [processOf(1000), processOf(1000), processOf(1000)];
      let total = 0;
      for (const { process, times, tell } of steps) {
        await pull(processes[process]!, address, times);
        total += times;
        // Not waited for: pulls go on while an exchange is under way.
        if (tell) void processes[process]!.exchange();
      }
      await Promise.all(processes.map((process) => process.exchange()));
      const [row] = await database.query<{ points: number }>('SELECT points FROM rate_limits WHERE key LIKE $1', [
        `pull-address:2001:db8:${run.toString(16)}:0::/64`,
      ]);
      expect(row?.points).toBe(total);
    }),
    { numRuns: 20 },
  );
});

test('a window that is over for all begins anew', async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2026, 0, 10) });
  const one = processOf(10);
  await pull(one, '203.0.113.7', 9);
  await one.exchange();
  vi.setSystemTime(Date.UTC(2026, 0, 10, 6));
  expect(await pull(one, '203.0.113.7', 2)).toBe(8);
  await one.exchange();
  expect(await remainingAt(one, '203.0.113.7')).toBe(8);
});

test('a database that is away costs nothing but the knowledge of others', async () => {
  let away = true;
  const one = processOf(10, {
    query: async (text, values) => {
      if (away) throw new Error('away');
      return database.query(text, values);
    },
  });
  const other = processOf(10);
  expect(await pull(one, '203.0.113.7', 3)).toBe(7);
  await one.exchange();
  expect(await pull(one, '203.0.113.7', 1)).toBe(6);
  await one.exchange();
  away = false;
  await one.exchange();
  await pull(other, '203.0.113.7');
  await other.exchange();
  expect(await remainingAt(other, '203.0.113.7')).toBe(5);
});

test('what is left to tell is told at the end', async () => {
  const [one, other] = [processOf(10), processOf(10)];
  await pull(one, '203.0.113.7', 4);
  await one.close();
  await pull(other, '203.0.113.7');
  await other.exchange();
  expect(await remainingAt(other, '203.0.113.7')).toBe(5);
});

test('a refused pull is not told: nobody waits longer for having asked', async () => {
  const one = processOf(1);
  await pull(one, '203.0.113.7', 5);
  await one.exchange();
  expect(await database.query('SELECT points FROM rate_limits')).toEqual([{ points: 1 }]);
});
