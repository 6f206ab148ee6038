/**
 * Counters over fixed windows: so many points a key, until the window that began with its first one is over.
 * rate-limiter-flexible counts; here is where it counts, and how much it may keep.
 */
import { LRUCache } from 'lru-cache';
import { RateLimiterMemory, RateLimiterPostgres, type RateLimiterAbstract } from 'rate-limiter-flexible';
import type { Queryer } from '../../database/pool.ts';

export interface WindowOptions {
  /** Begins the keys of this counter, in memory as in the database. */
  readonly name: string;
  readonly points: number;
  readonly seconds: number;
}

/**
 * Keys that one counter keeps in memory, of some 500 bytes each: 25 MB at the most. Whoever commands more addresses than
 * that pushes the oldest ones out, and they start anew: the limit gives way before the process does.
 */
export const memoryKeysMax = 50_000;

/** Counts in this process only, with a bound that the library's own memory does not have. */
export class BoundedMemory extends RateLimiterMemory {
  readonly #recent: LRUCache<string, true>;

  constructor({ name, points, seconds }: WindowOptions, keysMax = memoryKeysMax) {
    super({ keyPrefix: name, points, duration: seconds });
    this.#recent = new LRUCache({ max: keysMax, dispose: (_, key) => void super.delete(key) });
  }

  override async penalty(key: string, points?: number): Promise<Awaited<ReturnType<RateLimiterMemory['penalty']>>> {
    this.#recent.set(key, true);
    return super.penalty(key, points);
  }

  override async set(key: string, points: number, seconds: number): ReturnType<RateLimiterMemory['set']> {
    this.#recent.set(key, true);
    return super.set(key, points, seconds);
  }
}

/** Counts in the table `rate_limits`, one statement each, together with every other process. */
export function sharedWindow(queryer: Queryer, { name, points, seconds }: WindowOptions): RateLimiterAbstract {
  return new RateLimiterPostgres({
    keyPrefix: name,
    points,
    duration: seconds,
    tableName: 'rate_limits',
    tableCreated: true,
    // Swept by a background job, once for all processes.
    clearExpiredByTimeout: false,
    storeType: 'client',
    storeClient: {
      query: async ({ text, values }: { text: string; values: unknown[] }) => {
        const rows = await queryer.query(text, values);
        return { rows, rowCount: rows.length };
      },
    },
  });
}

export interface Taken {
  /** Including this one, if it counted. */
  readonly used: number;
  readonly remaining: number;
  /** Seconds until the window is over, at least 1. */
  readonly resetSeconds: number;
}

/** Counts one. Past the limit it still counts, but the window does not grow longer by it. */
export async function take(window: RateLimiterAbstract, key: string): Promise<Taken> {
  return takenOf(window, await window.penalty(key));
}

/** Where the counter stands. */
export async function look(window: RateLimiterAbstract, key: string): Promise<Taken> {
  const result = await window.get(key);
  // The memory's timers may be late to forget a window that is over.
  if (result === null || result.msBeforeNext <= 0)
    return { used: 0, remaining: window.points, resetSeconds: window.duration };
  return takenOf(window, result);
}

function takenOf(window: RateLimiterAbstract, result: { consumedPoints: number; msBeforeNext: number }): Taken {
  return {
    used: result.consumedPoints,
    remaining: Math.max(0, window.points - result.consumedPoints),
    resetSeconds: Math.max(1, Math.ceil(result.msBeforeNext / 1000)),
  };
}
