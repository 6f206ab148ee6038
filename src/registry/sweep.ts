/**
 * Frees the bytes that nobody will ask for again. Each way is safe in any number of processes at once, and loses nothing when
 * its process dies between two steps: what was not finished is found again, and finished, by the next run.
 */
import type { Database } from '../database/pool.ts';
import type { BlobStore, StorageKey, UploadState } from '../storage/port.ts';
import {
  findKeysInUse,
  forgetStorageDeletions,
  queuePlaceDeletions,
  takeStorageDeletions,
  type StorageDeletion,
} from './sql/storage-deletions.ts';
import { deleteExpiredUploads, findAbandonedPlaces, type SessionPlaces } from './sql/uploads.ts';
import { placesInRows } from './upload-place.ts';

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
   * upload. A crash before the bytes are gone leaves them to `abandonedUploads`; places that only rows know of are left to
   * `queuedDeletions` with the row.
   */
  expiredUploads(signal: AbortSignal): Promise<Swept>;
  /**
   * Frees the bytes of uploads that no session knows: left by crashes, by take-overs, and by requests that brought a whole
   * blob without a session. Only those into which nothing was written for as long as an upload may stand still: a writer
   * records a new place when it has finished, so a younger one may still be somebody's.
   */
  abandonedUploads(signal: AbortSignal): Promise<Swept>;
  /**
   * Deletes what `storage_deletions` names: objects, and places of uploads with the objects that they became, unless a blob has
   * those. A row goes only after its bytes; a crash in between has the next run delete them again, which is no error, as no
   * key and no place is ever used twice.
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

  function objectOf({ storage_key: key, upload_state: place }: StorageDeletion): StorageKey | null {
    return key ?? (store.recognizes(place) ? store.objectOf(place) : null);
  }

  async function deleteQueued(taken: readonly StorageDeletion[], tally: Tally, signal: AbortSignal): Promise<void> {
    // No blob can get the object of a place any more: only the transaction that ended its session could have made one.
    const inUse = new Set(await findKeysInUse(database, taken.map(objectOf).filter(isKey)));
    const gone = await tally.each(taken, signal, async (deletion) => {
      const { id, storage_key: queuedKey, upload_state: place } = deletion;
      if (!store.recognizes(queuedKey ?? place))
        throw new Error(`deletion ${id} is of a storage that is not set up here`);
      const key = objectOf(deletion);
      const isUsed = key !== null && inUse.has(key);
      // Nothing queues a key that a blob has. Should a fault ever do so, an object too many is better than a blob without bytes.
      if (isUsed && queuedKey !== null) throw new Error(`${key} is queued for deletion, but a blob has it; it is kept`);
      if (place !== null) await store.abort(place);
      if (key !== null && !isUsed) await store.delete(key);
    });
    if (gone.length > 0) await forgetStorageDeletions(database, idsOf(gone));
  }

  /** Ends some sessions, and leaves what only their rows know of to `queuedDeletions`. */
  async function endExpired(): Promise<{ session: SessionPlaces; isLeft: boolean }[]> {
    return database.transaction(async (queryer) => {
      const sessions = await deleteExpiredUploads(queryer, batchSize);
      const left = sessions.map((session) => placesInRows(store, session));
      const queued = left.flat();
      if (queued.length > 0) await queuePlaceDeletions(queryer, queued, 'its upload has expired');
      return sessions.map((session, index) => ({ session, isLeft: left[index]!.length > 0 }));
    });
  }

  return {
    async expiredUploads(signal) {
      const tally = new Tally();
      while (!signal.aborted) {
        const ended = await endExpired();
        // Not ended by the signal: with their rows gone nobody else knows of these places for a day.
        await tally.each(ended, never, async ({ session: { storage_state: place }, isLeft }) => {
          if (place !== null && !isLeft) await store.abort(place);
        });
        if (ended.length < batchSize) break;
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
        await deleteQueued(taken, tally, signal);
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

const isKey = (key: StorageKey | null) => key !== null;
const idsOf = (deletions: readonly StorageDeletion[]) => deletions.map((deletion) => deletion.id);
