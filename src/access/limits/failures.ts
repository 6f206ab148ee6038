/**
 * Failed sign-ins slow the next ones down. An attempt counts as failed when it begins, so that a hundred guesses at once are
 * a hundred; whoever succeeds takes its own back. Some failures are free. After them each attempt that is let through closes
 * the door for longer, and what comes before it opens again is refused, and not counted: nothing was guessed.
 */
import { randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Queryer } from '../../database/pool.ts';
import { giveBackAttempt, reserveAttempt, type Delays } from './sql/sign-in-failures.ts';

/** What failures are counted under, and how many are free there. */
export interface FailureKey {
  readonly key: string;
  readonly free: number;
}

/** An attempt that was let through. */
export interface Attempt {
  /** It was none, or it succeeded. `cleared`: the key whose failures are forgotten with it. */
  takeBack(cleared?: string): Promise<void>;
}

export interface Failures {
  /** Counts an attempt under all keys, or refuses it and counts it under none. */
  begin(keys: readonly FailureKey[]): Promise<Attempt | { readonly retryAfterMs: number }>;
}

const firstDelayMs = 1000;
/** Longer than any delay: a guesser who waits for it gets the free attempts once a day. */
const forgetMs = 24 * 3600 * 1000;

export const delaysOf = (delayMaxSeconds: number): Delays => ({
  firstMs: firstDelayMs,
  maxMs: delayMaxSeconds * 1000,
  forgetMs,
});

interface Count {
  excess: number;
  freeAt: number;
  forgetAt: number;
  attempt: string;
}

/** Keys of some 300 bytes each. Whoever has more accounts and addresses to try pushes the oldest ones out. */
const memoryKeysMax = 50_000;

/** Counts in this process only. */
export function createMemoryFailures({ firstMs, maxMs, forgetMs }: Delays): Failures {
  const counts = new LRUCache<string, Count>({ max: memoryKeysMax });

  function count({ key, free }: FailureKey, now: number, attempt: string): void {
    const before = counts.get(key);
    const excess = before === undefined || before.forgetAt <= now ? 1 - free : before.excess + 1;
    const delay = excess <= 0 ? 0 : Math.min(maxMs, firstMs * 2 ** (excess - 1));
    counts.set(key, { excess, freeAt: now + delay, forgetAt: now + forgetMs, attempt });
  }

  return {
    async begin(keys) {
      const now = Date.now();
      const retryAfterMs = Math.max(...keys.map(({ key }) => (counts.get(key)?.freeAt ?? 0) - now));
      if (retryAfterMs > 0) return { retryAfterMs };
      const attempt = randomUUID();
      for (const key of keys) count(key, now, attempt);
      return {
        async takeBack(cleared) {
          if (cleared !== undefined) counts.delete(cleared);
          for (const { key } of keys) {
            const after = counts.get(key);
            if (after === undefined) continue;
            after.excess -= 1;
            if (after.attempt === attempt) after.freeAt = 0;
          }
        },
      };
    },
  };
}

/** Counts in the table `sign_in_failures`, together with every other process. */
export function createSharedFailures(queryer: Queryer, delays: Delays): Failures {
  return {
    async begin(keys) {
      const now = Date.now();
      const attempt = randomUUID();
      const rows = await reserveAttempt(queryer, keys, attempt, now, delays);
      const counted = rows.filter((row) => row.counted).map(({ key }) => key);
      const takeBack = async (cleared?: string): Promise<void> => {
        if (counted.length > 0) await giveBackAttempt(queryer, counted, attempt, cleared ?? null);
      };
      if (counted.length === rows.length) return { takeBack };
      await takeBack();
      return { retryAfterMs: Math.max(...rows.filter((row) => !row.counted).map((row) => row.free_at - now)) };
    },
  };
}
