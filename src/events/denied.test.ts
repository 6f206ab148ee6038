import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { createDatabase, DatabaseUnavailableError, type Database, type Queryer } from '../database/pool.ts';
import type { Actor } from './actor.ts';
import { createDeniedRecorder, type DeniedAttempt, type DeniedRecorder, type DeniedRecorderOptions } from './denied.ts';
import { searchAudit, type AuditRecord } from './audit-search.ts';

let facts: TestDatabase;
let database: Database;
beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 4, hotLanes: 1 });
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});

const recorders: DeniedRecorder[] = [];
const warnings: unknown[] = [];
let eve: Actor;
let people = 0;
beforeEach(() => {
  people += 1;
  warnings.length = 0;
  eve = {
    credentialId: 1,
    userId: 2,
    name: `eve${people}`,
    address: '192.0.2.1',
    client: 'curl/8',
    requestId: 'req-1',
  };
});
afterEach(async () => {
  for (const recorder of recorders.splice(0)) await recorder.stop();
});

const attempt: DeniedAttempt = {
  action: 'manifest.push',
  target: 'acme/app:1',
  reason: 'eve may pull acme/app, not push',
};
const eventually = { timeout: 10_000, interval: 5 };

function start(options?: DeniedRecorderOptions, queryer: Queryer = database): DeniedRecorder {
  const logger = { warn: (fields: unknown) => void warnings.push(fields) };
  const recorder = createDeniedRecorder(queryer, logger, options);
  recorders.push(recorder);
  return recorder;
}

/** What the log says that eve was denied, oldest first. */
async function denied(): Promise<AuditRecord[]> {
  const { records } = await searchAudit(database, { all: true }, { who: eve.name }, { limit: 5000 });
  return records.toReversed();
}
const counts = async () => (await denied()).map(({ after }) => (after as { times: number } | null)?.times ?? 1);

/** A database that answers when it is told to, what was asked by then: an answer to no question is not kept. */
function slowDatabase(): { readonly queryer: Queryer; readonly asked: number; answer(failure?: Error): void } {
  let asked = 0;
  const held: PromiseWithResolvers<void>[] = [];
  return {
    queryer: {
      async query(text, values) {
        asked += 1;
        const answered = Promise.withResolvers<void>();
        held.push(answered);
        await answered.promise;
        return database.query(text, values);
      },
    },
    get asked() {
      return asked;
    },
    answer(failure) {
      for (const { resolve, reject } of held.splice(0)) {
        if (failure === undefined) resolve();
        else reject(failure);
      }
    },
  };
}

describe('a denied attempt', () => {
  test('is in the log soon after', async () => {
    start().record(eve, attempt);
    await vi.waitFor(async () => expect(await denied()).toHaveLength(1), eventually);
    expect((await denied())[0]).toMatchObject({ ...attempt, actor: eve.name, outcome: 'denied', after: null });
  });

  test('is not lost by a stop', async () => {
    const recorder = start();
    for (const n of [1, 2, 3]) recorder.record(eve, { ...attempt, target: `acme/app:${n}` });
    await recorder.stop();
    const targets = (await denied()).map(({ target }) => target);
    expect(new Set(targets)).toEqual(new Set(['acme/app:1', 'acme/app:2', 'acme/app:3']));
    recorder.record(eve, attempt);
    await recorder.stop();
    expect(await denied()).toHaveLength(3);
  });

  test('again and again is one row, and another that counts the rest', async () => {
    const recorder = start();
    for (let n = 0; n < 100; n += 1) recorder.record(eve, attempt);
    await vi.waitFor(async () => expect(await denied()).toHaveLength(1), eventually);
    for (let n = 0; n < 10; n += 1) recorder.record(eve, { ...attempt, reason: 'for another reason' });
    await recorder.stop();
    const times = await counts();
    expect(times).toHaveLength(2);
    expect(times[0]! + times[1]!).toBe(110);
  });

  test('is counted for a while only', async () => {
    const recorder = start({ pauseMs: 1, countedMs: 5 });
    recorder.record(eve, attempt);
    await vi.waitFor(async () => expect(await denied()).toHaveLength(1), eventually);
    recorder.record(eve, attempt);
    await vi.waitFor(async () => expect(await denied()).toHaveLength(2), eventually);
  });

  test('by another account, from another address, or at something else is another', async () => {
    const recorder = start();
    recorder.record(eve, attempt);
    recorder.record({ ...eve, userId: 3 }, attempt);
    recorder.record({ ...eve, credentialId: 3 }, attempt);
    recorder.record({ ...eve, address: '192.0.2.2' }, attempt);
    recorder.record(eve, { ...attempt, target: 'acme/app:2' });
    recorder.record(eve, { ...attempt, action: 'tag.delete' });
    recorder.record({ ...eve, requestId: 'req-2', client: 'docker' }, attempt);
    await recorder.stop();
    const keys = (await denied()).map(({ userId, credentialId, address, target, action }) =>
      JSON.stringify([userId, credentialId, address, target, action]),
    );
    // The first was written at once, and once more for the seventh, which equals it.
    expect([keys.length, new Set(keys).size]).toEqual([7, 6]);
  });
});

describe('a flood', () => {
  test('is written up to a bound and counted beyond it', async () => {
    const slow = slowDatabase();
    const recorder = start({ pauseMs: 1 }, slow.queryer);
    for (let n = 0; n < 5000; n += 1) recorder.record(eve, { ...attempt, target: `acme/app:${n}` });
    // One statement is under way, and no second one however many wait.
    expect(slow.asked).toBe(1);
    const stopped = recorder.stop();
    await vi.waitFor(async () => {
      slow.answer();
      expect(await denied()).toHaveLength(1000);
    }, eventually);
    slow.answer();
    await stopped;
    const filter = { actions: ['audit.overflow' as const] };
    const { records } = await searchAudit(database, { all: true }, filter, { limit: 10 });
    const uncounted = records.map(({ after }) => (after as { times: number }).times);
    expect(uncounted.reduce((sum, times) => sum + times, 0)).toBe(4000);
  });
});

describe('while the database', () => {
  test('is away attempts wait, and are written when it is back, dated when they were', async () => {
    const slow = slowDatabase();
    const recorder = start({ pauseMs: 1 }, slow.queryer);
    const began = performance.now();
    recorder.record(eve, attempt);
    await vi.waitFor(() => {
      slow.answer(new DatabaseUnavailableError('away'));
      expect(performance.now() - began).toBeGreaterThan(500);
    }, eventually);
    expect(warnings).toHaveLength(1);
    recorder.record(eve, { ...attempt, target: 'acme/app:2' });
    await vi.waitFor(async () => {
      slow.answer();
      expect(await denied()).toHaveLength(2);
    }, eventually);
    const [first, second] = (await denied()).map(({ at }) => at.getTime());
    expect(second! - first!).toBeGreaterThan(250);
  });

  test('is away at the stop the log says how many are lost', async () => {
    const slow = slowDatabase();
    const recorder = start({}, slow.queryer);
    for (const n of [1, 2, 2]) recorder.record(eve, { ...attempt, target: `acme/app:${n}` });
    const stopped = recorder.stop();
    slow.answer(new DatabaseUnavailableError('away'));
    await vi.waitFor(() => expect(slow.asked).toBe(2), eventually);
    slow.answer(new DatabaseUnavailableError('away'));
    await stopped;
    expect(warnings.at(-1)).toEqual({ count: 3 });
  });

  test('refuses some they are counted, and do not stop the others', async () => {
    const slow = slowDatabase();
    const recorder = start({ pauseMs: 1 }, slow.queryer);
    recorder.record(eve, attempt);
    recorder.record(eve, { ...attempt, target: 'acme/app:2' });
    slow.answer(new Error('a row that cannot be'));
    await vi.waitFor(async () => {
      slow.answer();
      expect((await denied()).map(({ target }) => target)).toEqual(['acme/app:2']);
    }, eventually);
  });
});
