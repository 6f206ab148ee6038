/**
 * A bound on passwords being verified: argon2 takes tens of milliseconds and 19 MiB on a thread of libuv's pool, which also
 * reads and writes every file.
 */
import { RegistryError } from '../../oci/errors.ts';

export interface Slots {
  /**
   * Does the work when a slot is free.
   * @throws RegistryError `unavailable` when too many wait already, `tooManyRequests` when too many of the same key do
   */
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
}

export interface SlotLimits {
  /** Half of libuv's four threads: the other half goes on serving files. */
  readonly running: number;
  /** At 36 ms each, two at a time, the last of 256 waits five seconds. */
  readonly waiting: number;
  /** One address cannot fill the queue alone, and so keep everybody else out. */
  readonly waitingPerKey: number;
}

export const passwordSlots: SlotLimits = { running: 2, waiting: 256, waitingPerKey: 128 };
const retryAfterSeconds = 5;

export function createSlots(limits: SlotLimits): Slots {
  let running = 0;
  const queue: { readonly key: string; readonly start: () => void }[] = [];
  const waiting = new Map<string, number>();

  function leave(): void {
    const next = queue.shift();
    if (next === undefined) {
      running -= 1;
      return;
    }
    const left = waiting.get(next.key)! - 1;
    if (left === 0) waiting.delete(next.key);
    else waiting.set(next.key, left);
    // The slot goes over to it: nobody who comes now can take it first.
    next.start();
  }

  async function enter(key: string): Promise<void> {
    if (running < limits.running) {
      running += 1;
      return;
    }
    const before = waiting.get(key) ?? 0;
    if (before >= limits.waitingPerKey)
      throw new RegistryError('tooManyRequests', {
        message: `too many sign-ins at once from this address; try again in ${retryAfterSeconds} seconds`,
        retryAfterSeconds,
      });
    if (queue.length >= limits.waiting)
      throw new RegistryError('unavailable', {
        message: `too many sign-ins at once; try again in ${retryAfterSeconds} seconds`,
        retryAfterSeconds,
      });
    waiting.set(key, before + 1);
    await new Promise<void>((start) => queue.push({ key, start }));
  }

  return {
    async run(key, work) {
      await enter(key);
      try {
        return await work();
      } finally {
        leave();
      }
    },
  };
}
