import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../../test/support/database.ts';
import { createDatabase, type Database } from '../../database/pool.ts';
import { parseConfig } from '../../config/load.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { sweepRateLimits } from './sweep.ts';
import { createRateLimits, type RateLimits, type RateLimitSettings } from './limits.ts';

let facts: TestDatabase;
let database: Database;
beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 5, hotLanes: 1 });
  await database.query(`INSERT INTO users (name) VALUES ('ada'), ('bob')`);
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});

const logger = createLogger(parseConfig({ BERTH_LOG_LEVEL: 'silent' }).log);
const start = Date.UTC(2026, 0, 10, 12);
const seconds = (count: number): number => count * 1000;
const hours = (count: number): number => seconds(count * 3600);
const days = (count: number): number => hours(count * 24);

let open: RateLimits[] = [];
beforeEach(() => {
  // Dates only: rate-limiter-flexible has no clock of its own to be given, and connections need their timers.
  vi.useFakeTimers({ toFake: ['Date'], now: start });
});
afterEach(async () => {
  await Promise.all(open.map((limits) => limits.close()));
  open = [];
  vi.useRealTimers();
  await database.query('DELETE FROM rate_limits');
  await database.query('DELETE FROM sign_in_failures');
  await database.query('DELETE FROM known_addresses');
});
const pass = (ms: number): unknown => vi.setSystemTime(Date.now() + ms);

const stores = ['memory', 'postgres'] as const;
type Store = (typeof stores)[number];

function limitsOf(settings: Partial<RateLimitSettings>): RateLimits {
  const none = {
    signInsPerAddressPerMinute: 0,
    signInsPerAccountPerMinute: 0,
    freeFailures: { perAccountAndAddress: 0, perAddress: 0, perAccount: 0 },
  };
  const limits = createRateLimits({
    database,
    logger,
    settings: { ...parseConfig({}).rateLimits, ...none, ...settings },
  });
  open.push(limits);
  return limits;
}

const password = { factor: 'password', more: false } as const;
const sweep = (knownAddressDays = 30): Promise<number> =>
  sweepRateLimits(database, knownAddressDays, new AbortController().signal);
const outcomeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    (value) => value,
    (error: unknown) => error,
  );

/** What becomes of a sign-in: 'right', 'wrong', or the seconds after which to come again. */
async function signIn(limits: RateLimits, username: string, address: string, right: boolean): Promise<unknown> {
  const result = await outcomeOf(
    limits.signIn({ ...password, username, address }, async () => (right ? 'right' : undefined)),
  );
  if (result instanceof Error) {
    expect(result).toMatchObject({ kind: 'tooManyRequests' });
    const { retryAfterSeconds } = result as { retryAfterSeconds?: number };
    expect(result.message).toContain(`try again in ${retryAfterSeconds} second`);
    return retryAfterSeconds;
  }
  return result ?? 'wrong';
}

async function wrong(limits: RateLimits, count: number, username: string, addressOf: (i: number) => string) {
  for (let i = 0; i < count; i += 1) expect(await signIn(limits, username, addressOf(i), false)).toBe('wrong');
}

describe.each(stores)('failed sign-ins counted in %s', (store: Store) => {
  const free = { perAccountAndAddress: 3, perAddress: 6, perAccount: 5 };
  const strangers = (i: number): string => `198.51.${i}.1`;

  test('some are free, then each makes the next wait twice as long, up to the longest', async () => {
    const limits = limitsOf({ store, freeFailures: free, signInDelayMaxSeconds: 10 });
    await wrong(limits, 3, 'ada', () => '203.0.113.7');
    for (const delay of [1, 2, 4, 8, 10, 10]) {
      expect(await signIn(limits, 'ada', '203.0.113.7', false)).toBe('wrong');
      expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe(delay);
      // What is refused is no failure: the door opens when it was said to.
      expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe(delay);
      pass(seconds(delay));
    }
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe('right');
    // And success forgets it all.
    await wrong(limits, 3, 'ada', () => '203.0.113.7');
    pass(days(1));
    await wrong(limits, 3, 'ada', () => '203.0.113.7');
  });

  test('a hundred guesses at once are a hundred', async () => {
    const limits = limitsOf({ store, freeFailures: free });
    let checked = 0;
    const guess = async (): Promise<undefined> => {
      checked += 1;
      return undefined;
    };
    const who = { ...password, username: 'ada', address: '203.0.113.7' };
    await Promise.all(Array.from({ length: 100 }, () => outcomeOf(limits.signIn(who, guess))));
    expect(checked).toBe(free.perAccountAndAddress + 1);
  });

  test('strangers slow each other down, but not the owner where the owner normally comes from', async () => {
    const limits = limitsOf({ store, freeFailures: free });
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe('right');
    await wrong(limits, free.perAccount + 1, 'ada', strangers);
    expect(await signIn(limits, 'ada', '192.0.2.1', true)).toBe(1);
    // Another address of the same network is known as well.
    expect(await signIn(limits, 'ada', '203.0.113.99', true)).toBe('right');
    // The owner's own mistakes count there, and only there.
    await wrong(limits, free.perAccountAndAddress + 1, 'ada', () => '203.0.113.7');
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe(1);
    expect(await signIn(limits, 'ada', '203.0.113.99', true)).toBe('right');
  });

  test('one who tries a password on many accounts is slowed down on all, except those known there', async () => {
    const limits = limitsOf({ store, freeFailures: free });
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe('right');
    for (let i = 0; i <= free.perAddress; i += 1)
      expect(await signIn(limits, `user${i}`, '203.0.113.7', false)).toBe('wrong');
    expect(await signIn(limits, 'bob', '203.0.113.7', true)).toBe(1);
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe('right');
    expect(await signIn(limits, 'bob', '203.0.113.8', true)).toBe('right');
  });

  test('an account that does not exist is answered as one that does, however its name is written', async () => {
    const limits = limitsOf({ store, freeFailures: free });
    const story = async (username: string, at: number): Promise<unknown[]> => {
      const answers = [];
      for (let i = 0; i < 8; i += 1) answers.push(await signIn(limits, username, `198.${at}.${i}.1`, false));
      return answers;
    };
    const existing = await story('ada', 1);
    expect(existing.slice(-3)).toEqual(['wrong', 1, 1]);
    expect(await story('nobody', 2)).toEqual(existing);
    expect(await signIn(limits, 'NoBody', '198.3.1.1', false)).toBe(1);
    expect(await signIn(limits, 'no\0body', '198.3.1.1', false)).toBe('wrong');
  });

  test('a check that breaks is no failure', async () => {
    const limits = limitsOf({ store, freeFailures: free });
    const broken = () => Promise.reject(new Error('the database is away'));
    for (let i = 0; i < 10; i += 1)
      await expect(limits.signIn({ ...password, username: 'ada', address: '203.0.113.7' }, broken)).rejects.toThrow(
        'away',
      );
    expect(await signIn(limits, 'ada', '203.0.113.7', false)).toBe('wrong');
  });

  test('whoever succeeds takes back their own failure, not those of others', async () => {
    const limits = limitsOf({ store, freeFailures: free });
    for (let i = 0; i < free.perAddress; i += 1) {
      expect(await signIn(limits, `user${i}`, '203.0.113.7', false)).toBe('wrong');
      expect(await signIn(limits, 'bob', '203.0.113.7', true)).toBe('right');
    }
    expect(await signIn(limits, 'someone', '203.0.113.7', false)).toBe('wrong');
    expect(await signIn(limits, 'someone', '203.0.113.7', false)).toBe(1);
  });

  test('a password lets nobody guess codes for ever', async () => {
    const limits = limitsOf({ store, freeFailures: free });
    const who = { username: 'ada', address: '203.0.113.7' };
    let guesses = 0;
    for (let i = 0; i < 20; i += 1) {
      await limits.signIn({ ...who, factor: 'password', more: true }, async () => true);
      const guess = async (): Promise<undefined> => void (guesses += 1) as undefined;
      await outcomeOf(limits.signIn({ ...who, factor: 'code', more: false }, guess));
    }
    expect(guesses).toBe(free.perAccountAndAddress + 1);
    expect(await database.query('SELECT 1 FROM known_addresses')).toEqual([]);
  });

  test('no order of attempts lets through more guesses than are free, and one for each delay after', async () => {
    const step = fc.record({ wait: fc.integer({ min: 0, max: 20 }), guesses: fc.integer({ min: 1, max: 5 }) });
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        run += 1;
        const limits = limitsOf({ store, freeFailures: { ...free, perAddress: 0, perAccount: 0 } });
        let guessed = 0;
        let nextAt = 0;
        let now = 0;
        for (const { wait, guesses } of steps) {
          pass(seconds(wait));
          now += wait;
          const who = { ...password, username: `model${run}`, address: '203.0.113.7' };
          const check = async () => void (guessed += 1) as undefined;
          for (let i = 0; i < guesses; i += 1) {
            const before = guessed;
            const answer = await outcomeOf(limits.signIn(who, check));
            expect(guessed - before).toBe(now >= nextAt ? 1 : 0);
            if (guessed === before) expect(answer).toMatchObject({ retryAfterSeconds: nextAt - now });
            else if (guessed > 3) nextAt = now + 2 ** (guessed - 4);
          }
        }
      }),
      { numRuns: 30 },
    );
  });
});

describe('known addresses', () => {
  const free = { perAccountAndAddress: 0, perAddress: 0, perAccount: 1 };
  const rows = () =>
    database.query<{ network: string; day: string }>(`SELECT network, last_seen_on::text AS day FROM known_addresses`);

  test('are written once a day, and by success only', async () => {
    const limits = limitsOf({ freeFailures: free });
    await wrong(limits, 1, 'ada', () => '203.0.113.7');
    expect(await rows()).toEqual([]);
    const written: string[] = [];
    const counting = createRateLimits({
      database: {
        query: (text, values) => {
          if (/INSERT/.test(text)) written.push(text);
          return database.query(text, values);
        },
      },
      logger,
      settings: parseConfig({}).rateLimits,
    });
    for (let i = 0; i < 3; i += 1) expect(await signIn(counting, 'ada', `203.0.113.${i}`, true)).toBe('right');
    expect(written).toHaveLength(1);
    expect(await rows()).toEqual([{ network: '203.0.113.0/24', day: '2026-01-10' }]);
    pass(days(1));
    expect(await signIn(counting, 'ada', '203.0.113.7', true)).toBe('right');
    expect(await rows()).toEqual([{ network: '203.0.113.0/24', day: '2026-01-11' }]);
  });

  test('are forgotten after the days of the setting, and swept', async () => {
    const limits = limitsOf({ freeFailures: free, knownAddressDays: 7 });
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe('right');
    const strangers = async (): Promise<void> => {
      await outcomeOf(signIn(limits, 'ada', '198.51.100.1', false));
      await outcomeOf(signIn(limits, 'ada', '198.51.100.1', false));
    };
    pass(days(7));
    await strangers();
    expect(await signIn(limits, 'ada', '192.0.2.1', true)).toBeGreaterThan(0);
    expect(await sweep(7)).toBe(0);
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe('right');
    pass(days(8));
    await strangers();
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBeGreaterThan(0);
    expect(await sweep(7)).toBe(1);
    expect(await rows()).toEqual([]);
  });
});

describe.each(stores)('requests counted in %s', (store: Store) => {
  test('sign-ins of an address, right or wrong', async () => {
    const limits = limitsOf({ store, signInsPerAddressPerMinute: 3 });
    for (const right of [true, false, true])
      expect(await signIn(limits, 'ada', '203.0.113.7', right)).toBe(right ? 'right' : 'wrong');
    pass(seconds(20));
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe(40);
    expect(await signIn(limits, 'ada', '203.0.113.8', true)).toBe('right');
    pass(seconds(40));
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe('right');
  });

  test('sign-ins of an account, except from where it is known', async () => {
    const limits = limitsOf({ store, signInsPerAccountPerMinute: 2 });
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe('right');
    expect(await signIn(limits, 'ada', '198.51.100.1', false)).toBe('wrong');
    expect(await signIn(limits, 'ada', '198.51.100.1', false)).toBe(60);
    expect(await signIn(limits, 'ada', '203.0.113.7', true)).toBe('right');
    expect(await signIn(limits, 'bob', '198.51.100.1', true)).toBe('right');
  });

  test('tokens of an address and of an account', async () => {
    const limits = limitsOf({ store, tokensPerAddressPerMinute: 3, tokensPerAccountPerMinute: 2 });
    await limits.token('2001:db8:1:2::1', 'user:1');
    await limits.token('2001:db8:9:9::1', 'user:1');
    await expect(limits.token('203.0.113.7', 'user:1')).rejects.toMatchObject({
      kind: 'tooManyRequests',
      retryAfterSeconds: 60,
      message: 'too many token requests: 2 in a minute are allowed here; try again in 60 seconds',
    });
    await limits.token('2001:db8:1:2::2', 'user:2');
    await limits.token('2001:db8:1:2::3', null);
    await expect(limits.token('2001:db8:1:2::4', null)).rejects.toMatchObject({ retryAfterSeconds: 60 });
    await limits.token('2001:db8:1:3::4', null);
  });

  test('pushes by manifest; an upload is refused when there is no push left', async () => {
    const limits = limitsOf({ store, pushesPerAccountPerHour: 2, pushesPerAddressPerHour: 3 });
    const push = (account: string, address: string, step: 'upload' | 'manifest') =>
      outcomeOf(limits.push(address, account, step));
    const refused = { kind: 'tooManyRequests', retryAfterSeconds: 3600 };
    for (let i = 0; i < 2; i += 1) {
      for (let blob = 0; blob < 5; blob += 1) expect(await push('user:1', '203.0.113.7', 'upload')).toBeUndefined();
      expect(await push('user:1', '203.0.113.7', 'manifest')).toBeUndefined();
    }
    expect(await push('user:1', '203.0.113.7', 'upload')).toMatchObject(refused);
    expect(await push('user:1', '203.0.113.9', 'manifest')).toMatchObject(refused);
    expect(await push('user:2', '203.0.113.7', 'manifest')).toBeUndefined();
    expect(await push('user:3', '203.0.113.7', 'manifest')).toMatchObject(refused);
    pass(hours(1));
    expect(await push('user:1', '203.0.113.7', 'upload')).toBeUndefined();
  });

  test('what is over is swept from the database', async () => {
    const limits = limitsOf({
      store,
      tokensPerAddressPerMinute: 3,
      freeFailures: { perAccountAndAddress: 1, perAddress: 1, perAccount: 0 },
    });
    await limits.token('203.0.113.7', null);
    await signIn(limits, 'ada', '203.0.113.7', false);
    expect(await sweep()).toBe(0);
    pass(days(2));
    expect(await sweep()).toBe(store === 'memory' ? 0 : 3);
  });
});

describe.each(stores)('pulls counted in %s', (store: Store) => {
  test('are not even asked about where they are not limited', () => {
    expect(limitsOf({ store }).pulls).toBeNull();
  });

  test('by manifest, of an address without an account, of an account with one', async () => {
    const { pulls } = limitsOf({ store, anonymousPullsPer6Hours: 2, accountPullsPer6Hours: 1 });
    const anonymous = { limit: 2, windowSeconds: 21_600, source: '203.0.113.7', retryAfterSeconds: null };
    const pull = (counted = true) => pulls!.pull(null, '203.0.113.7', counted);
    expect(await pull(false)).toEqual({ ...anonymous, remaining: 2 });
    expect(await pull()).toEqual({ ...anonymous, remaining: 1 });
    expect(await pull(false)).toEqual({ ...anonymous, remaining: 1 });
    expect(await pull()).toEqual({ ...anonymous, remaining: 0 });
    pass(hours(5));
    const refused = { ...anonymous, remaining: 0, retryAfterSeconds: 3600 };
    expect(await pull(false)).toEqual(refused);
    expect(await pull()).toEqual(refused);
    expect(await pulls!.pull('user:1', '203.0.113.7', true)).toEqual({
      limit: 1,
      remaining: 0,
      windowSeconds: 21_600,
      source: null,
      retryAfterSeconds: null,
    });
    pass(hours(1));
    expect(await pull(false)).toEqual({ ...anonymous, remaining: 2 });
    expect(await pull()).toEqual({ ...anonymous, remaining: 1 });
  });

  test('only for whom there is a limit', async () => {
    const { pulls } = limitsOf({ store, anonymousPullsPer6Hours: 2 });
    expect(await pulls!.pull('user:1', '203.0.113.7', true)).toBeNull();
  });
});
