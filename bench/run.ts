/** The frame of a benchmark: a folder for what it makes, and an end that leaves nothing behind. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { endPrograms } from './programs.ts';

export interface Run {
  /** Removed at the end. */
  readonly folder: string;
  /** Makes what has to be undone at the end, the last first; what is half made by then is waited for. */
  keep<T>(make: () => Promise<T>, undo: (made: T) => Promise<unknown>): Promise<T>;
}

/**
 * Works until it is done, fails, or SIGINT or SIGTERM come; then undoes what was made and ends the process.
 * @param work says whether what was asked for is met; the process ends with 0 only then
 */
export async function runBenchmark(work: (run: Run) => Promise<boolean>): Promise<never> {
  const interrupted = Promise.withResolvers<false>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupted.resolve(false));
  const ends = new AsyncDisposableStack();
  const folder = await mkdtemp(path.join(tmpdir(), 'berth-bench-'));
  ends.defer(() => rm(folder, { recursive: true, force: true }));

  const working = work({
    folder,
    keep(make, undo) {
      // What is made after the end has begun would stay.
      if (ends.disposed) return Promise.reject(new Error('the benchmark is ending'));
      const making = make();
      ends.defer(async () => void (await making.then(undo, () => undefined)));
      return making;
    },
  });
  const failed = (error: unknown): false => {
    console.error(error);
    return false;
  };
  const met = await Promise.race([working, interrupted.promise]).catch(failed);
  // What is under way fails when its servers go; nobody waits for it any more.
  working.catch(() => undefined);
  endPrograms();
  const undone = await ends.disposeAsync().then(() => true, failed);
  return process.exit(met && undone ? 0 : 1);
}
