/**
 * Pulls of all processes together. Each counts in its own memory and tells the others through `rate_limits` every other
 * second, in one statement for all that was pulled meanwhile.
 *
 * So the limit is not exact: a process that has just met an address knows nothing of what it pulled elsewhere until its next
 * exchange. An address can have at most the limit, and what it manages to pull within `exchangeMs` from each process. What
 * was not told yet when a process is killed is forgiven; an exchange that broke off after its commit is counted twice.
 */
import type { Queryer } from '../../database/pool.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { addPoints } from './sql/rate-limits.ts';
import { memoryKeysMax, type BoundedMemory } from './windows.ts';

const exchangeMs = 2000;

export interface SharedPulls {
  /** One more was counted, in a window that ends in so many seconds. */
  counted(window: BoundedMemory, key: string, resetSeconds: number): void;
  /** Tells what is untold, and learns what others told. Rejects never. */
  exchange(): Promise<void>;
  /** Ends the timer; tells what is left. */
  close(): Promise<void>;
}

interface Untold {
  readonly window: BoundedMemory;
  readonly key: string;
  readonly expiresAt: number;
  points: number;
}

export function createSharedPulls(queryer: Queryer, logger: Logger): SharedPulls {
  let untold = new Map<string, Untold>();
  let underWay: Promise<void> = Promise.resolve();

  function add(each: Untold): void {
    const id = each.window.getKey(each.key);
    const before = untold.get(id);
    if (before !== undefined) before.points += each.points;
    // Past this the database is away for long, or there are more addresses than memory is spent on: this process's own count is left.
    else if (untold.size < memoryKeysMax) untold.set(id, each);
  }

  async function tell(): Promise<void> {
    if (untold.size === 0) return;
    const telling = untold;
    untold = new Map();
    const now = Date.now();
    try {
      const rows = [...telling].map(([key, { points, expiresAt }]) => ({ key, points, expire: expiresAt }));
      for (const { key, points, expire } of await addPoints(queryer, rows, now)) {
        const { window, key: name } = telling.get(key)!;
        // Those that were pulled while the statement was under way are not in its answer yet.
        const total = points + (untold.get(key)?.points ?? 0);
        await window.set(name, total, Math.max(1, expire - now) / 1000);
      }
    } catch (error) {
      for (const each of telling.values()) add(each);
      logger.warn(
        { err: error },
        'pull counts could not be exchanged with the other processes; the next time will tell',
      );
    }
  }

  const exchange = async (): Promise<void> => {
    underWay = underWay.then(tell);
    return underWay;
  };
  const timer = setInterval(() => void exchange(), exchangeMs).unref();
  return {
    counted: (window, key, resetSeconds) =>
      add({ window, key, expiresAt: Date.now() + resetSeconds * 1000, points: 1 }),
    exchange,
    async close() {
      clearInterval(timer);
      await exchange();
    },
  };
}
