/**
 * Frees the bytes that nobody will ask for again. Each way is safe in any number of processes at once, and loses nothing when
 * its process dies between two steps: what was not finished is found again, and finished, by the next run.
 */
import type { Database } from '../database/pool.ts';
import type { BlobStore, UploadState } from '../storage/port.ts';
import {
  findKeysInUse,
  forgetStorageDeletions,
  takeStorageDeletions,
  type StorageDeletion,
} from './sql/storage-deletions.ts';
import { deleteExpiredUploads, findAbandonedPlaces } from './sql/uploads.ts';

/** What a run did. Failures of single items end no run: they are left to a later one. */
export interface Swept {
  readonly done: number;
  readonly failed: number;
  /** The first failure; undefined when there was none. */
  readonly failure: unknown;
}

/** All end early, between two items, when the signal says so. They throw when the facts or the listing cannot be read. */
export interface Sweep {
  /**
   * Ends the sessions that have expired and frees their bytes. The row goes first: from then on nobody can go on with the
   * upload. A crash before the bytes are gone leaves them to `abandonedUploads`.
   */
  expiredUploads(signal: AbortSignal): Promise<Swept>;
  /**
   * Frees the bytes of uploads that no session knows: left by crashes, by take-overs, and by requests that brought a whole
   * blob without a session. Only those into which nothing was written for as long as an upload may stand still: a writer
   * records a new place when it has finished, so a younger one may still be somebody's.
   */
  abandonedUploads(signal: AbortSignal): Promise<Swept>;
  /**
   * Deletes the objects of `storage_deletions`. A row goes only after its object; a crash in between has the next run delete
   * the object again, which is no error, as no key is ever used twice.
   */
  queuedDeletions(signal: AbortSignal): Promise<Swept>;
}

export interface SweepParts {
  readonly database: Database;
  readonly store: BlobStore;
  readonly uploadExpiryHours: number;
}

/** Items of one statement; also what a dying process leaves half done at most. */
const batchSize = 100;
/** Over the expiry of uploads: the storage's clock may be another one, and a last chunk may still be under way. */
const marginHours = 1;
const hourMs = 3_600_000;

export function createSweep({ database, store, uploadExpiryHours }: SweepParts): Sweep {
  async function freeAbandoned(places: readonly UploadState[], tally: Tally, signal: AbortSignal): Promise<void> {
    if (places.length === 0) return;
    // Looked after they were listed: whatever a session knew by then is its own, and an old place is never recorded anew.
    const abandoned = await findAbandonedPlaces(database, places);
    await tally.each(abandoned, signal, (place) => store.abort(place));
  }

  async function deleteObjects(taken: readonly StorageDeletion[], tally: Tally, signal: AbortSignal): Promise<void> {
    // Nothing queues a key that a blob has. Should a fault ever do so, an object too many is better than a blob without bytes.
    const inUse = new Set(await findKeysInUse(database, keysOf(taken)));
    const gone = await tally.each(taken, signal, async ({ storage_key: key }) => {
      if (inUse.has(key)) throw new Error(`${key} is queued for deletion, but a blob has it; it is kept`);
      await store.delete(key);
    });
    if (gone.length > 0) await forgetStorageDeletions(database, idsOf(gone));
  }

  return {
    async expiredUploads(signal) {
      const tally = new Tally();
      while (!signal.aborted) {
        const places = await deleteExpiredUploads(database, batchSize);
        // Not ended by the signal: with their rows gone nobody else knows of these places for a day.
        await tally.each(places, never, async (place) => {
          if (place !== null) await store.abort(place);
        });
        if (places.length < batchSize) break;
      }
      return tally;
    },

    async abandonedUploads(signal) {
      const tally = new Tally();
      const modifiedBefore = Date.now() - (uploadExpiryHours + marginHours) * hourMs;
      let old: UploadState[] = [];
      for await (const { state, modifiedAt } of store.listUploads()) {
        if (signal.aborted) break;
        if (modifiedAt.getTime() >= modifiedBefore) continue;
        old.push(state);
        if (old.length < batchSize) continue;
        await freeAbandoned(old, tally, signal);
        old = [];
      }
      await freeAbandoned(old, tally, signal);
      return tally;
    },

    async queuedDeletions(signal) {
      const tally = new Tally();
      while (!signal.aborted) {
        const taken = await takeStorageDeletions(database, batchSize);
        const doneBefore = tally.done;
        await deleteObjects(taken, tally, signal);
        // A storage that refuses a whole batch is asked again later, not for everything that waits.
        if (taken.length < batchSize || tally.done === doneBefore) break;
      }
      return tally;
    },
  };
}

const never = new AbortController().signal;

class Tally implements Swept {
  done = 0;
  failed = 0;
  failure: unknown;

  /** One after the other, so that requests keep the storage to themselves. @returns the items that did not fail */
  async each<T>(items: readonly T[], signal: AbortSignal, work: (item: T) => Promise<void>): Promise<T[]> {
    const worked: T[] = [];
    for (const item of items) {
      if (signal.aborted) break;
      try {
        await work(item);
        worked.push(item);
      } catch (error) {
        this.failed += 1;
        this.failure ??= error;
      }
    }
    this.done += worked.length;
    return worked;
  }
}

const keysOf = (deletions: readonly StorageDeletion[]) => deletions.map((deletion) => deletion.storage_key);
const idsOf = (deletions: readonly StorageDeletion[]) => deletions.map((deletion) => deletion.id);
