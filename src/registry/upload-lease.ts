/**
 * Leases on upload sessions: two writers never interleave. A lease is a row's column with an expiry, renewed while its
 * holder works; within this process a second writer asks the first to let go, as tus does. Whatever is written into the row
 * of an upload is written under its lease.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Database, Queryer } from '../database/pool.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/reference.ts';
import type { UploadState } from '../storage/port.ts';
import { queuePlaceDeletions } from './sql/storage-deletions.ts';
import {
  deleteLeasedUpload,
  findUpload,
  insertLeasedUpload,
  noteOtherPlace,
  recordProgress,
  releaseLease,
  renewLease,
  takeLease,
  type LeasedRow,
  type NewUpload,
  type Progress,
} from './sql/uploads.ts';

/** The right to write into one upload, until `release`. */
export interface Lease {
  /** As it was when the lease was taken. */
  readonly row: LeasedRow;
  /** Aborted when another writer wants the upload, or when the lease was lost. */
  readonly signal: AbortSignal;
  /** Places beside the row's own that may hold bytes; what the row says, or will say with the next `record`. */
  readonly otherPlaces: readonly UploadState[];
  /** Notes durably a place that is about to get its first byte. @throws RegistryError `uploadBusy` when the lease was lost */
  note(place: UploadState): Promise<void>;
  /**
   * Ends the session, and leaves these places to the sweep; in the caller's transaction if there are any.
   * @throws RegistryError `uploadBusy` when the lease was lost
   */
  end(queryer: Queryer, places: readonly UploadState[]): Promise<void>;
  /** Says that the row no longer holds this lease: the statement that recorded the work gave it back, or deleted the row. */
  settled(): void;
  /** Gives the lease back if the row still has it. To be called once, whatever happened. */
  release(): Promise<void>;
}

/** The same on a session, which outlives its writers. */
export interface SessionLease extends Lease {
  /** Records durable bytes. False when the lease was lost: nothing is recorded then. */
  record(progress: Progress, options: { readonly expiryHours: number; readonly keepLease: boolean }): Promise<boolean>;
}

export interface Leases {
  /** @throws RegistryError `uploadUnknown`; `uploadBusy` when another process writes and goes on writing */
  acquire(id: string, name: RepositoryName): Promise<SessionLease>;
  /**
   * For a blob that comes in one request, which nobody else knows of. It has no row until a place is noted: that of a process
   * that dies expires as any other. `release` ends it.
   */
  alone(upload: UploadAlone): Lease;
}

export type UploadAlone = Omit<NewUpload, 'perAccountMax'>;

/** Between two looks at a lease that another process holds. */
const pollMs = 200;

export function createLeases(database: Database, leaseSeconds: number): Leases {
  const holders = new Map<string, { abort: AbortController; released: Promise<void> }>();

  async function askHolderToLetGo(id: string): Promise<void> {
    const holder = holders.get(id);
    if (holder === undefined) return;
    holder.abort.abort(takenOver());
    await holder.released;
  }

  async function take(id: string, name: RepositoryName, token: string): Promise<LeasedRow> {
    // A dead process' lease is over after leaseSeconds; a living one renews, and waiting longer would be in vain.
    const giveUpAt = Date.now() + (leaseSeconds + 1) * 1000;
    for (;;) {
      await askHolderToLetGo(id);
      const row = await takeLease(database, id, name, token, leaseSeconds);
      if (row !== undefined) return row;
      if ((await findUpload(database, id, name)) === undefined)
        throw new RegistryError('uploadUnknown', { detail: { upload: id } });
      if (Date.now() > giveUpAt) throw new RegistryError('uploadBusy', { detail: { upload: id } });
      await delay(pollMs);
    }
  }

  function hold(row: LeasedRow, token: string): SessionLease {
    const abort = new AbortController();
    const released = Promise.withResolvers<void>();
    const holder = { abort, released: released.promise };
    holders.set(row.id, holder);
    const stopRenewing = renew({ database, leaseSeconds, id: row.id, token, abort });
    let settled = false;
    let otherPlaces = row.other_places;
    return {
      row,
      signal: abort.signal,
      get otherPlaces() {
        return otherPlaces;
      },
      async note(place) {
        if (!(await noteOtherPlace(database, row.id, token, place))) throw takenOver();
        otherPlaces = [...otherPlaces, place];
      },
      async record(progress, options) {
        if (!(await recordProgress(database, row.id, token, progress, options))) return false;
        otherPlaces = progress.otherPlaces;
        return true;
      },
      async end(queryer, places) {
        if (!(await endUpload(queryer, row.id, token, places))) throw takenOver();
      },
      settled() {
        settled = true;
      },
      async release() {
        stopRenewing();
        try {
          if (!settled) await releaseLease(database, row.id, token, row);
        } finally {
          if (holders.get(row.id) === holder) holders.delete(row.id);
          released.resolve();
        }
      },
    };
  }

  return {
    async acquire(id, name) {
      const token = randomUUID();
      return hold(await take(id, name, token), token);
    },
    alone: (upload) => leaseAlone(database, leaseSeconds, upload),
  };
}

/** The lease of an upload that nobody else knows of. */
function leaseAlone(database: Database, leaseSeconds: number, upload: UploadAlone): Lease {
  const token = randomUUID();
  const abort = new AbortController();
  let otherPlaces: UploadState[] = [];
  /** Undefined: there is no row yet. */
  let stopRenewing: (() => void) | undefined;
  let settled = false;
  return {
    row: rowOf(upload),
    signal: abort.signal,
    get otherPlaces() {
      return otherPlaces;
    },
    async note(place) {
      if (stopRenewing === undefined) {
        await insertLeasedUpload(database, { ...upload, lease: token, leaseSeconds, place });
        stopRenewing = renew({ database, leaseSeconds, id: upload.id, token, abort });
      } else if (!(await noteOtherPlace(database, upload.id, token, place))) throw takenOver();
      otherPlaces = [...otherPlaces, place];
    },
    async end(queryer, places) {
      if (stopRenewing !== undefined && !(await endUpload(queryer, upload.id, token, places))) throw takenOver();
    },
    settled() {
      settled = true;
    },
    async release() {
      stopRenewing?.();
      if (stopRenewing === undefined || settled) return;
      await database.transaction((queryer) => endUpload(queryer, upload.id, token, otherPlaces));
    },
  };
}

interface Renewed {
  readonly database: Database;
  readonly leaseSeconds: number;
  readonly id: string;
  readonly token: string;
  /** Aborted when the lease is lost. */
  readonly abort: AbortController;
}

/** Keeps a lease alive until the function is called that it returns. */
function renew({ database, leaseSeconds, id, token, abort }: Renewed): () => void {
  const renewal = setInterval(
    () => {
      renewLease(database, id, token, leaseSeconds).then(
        (kept) => {
          if (!kept) abort.abort(new RegistryError('uploadBusy', { message: 'the upload was taken over' }));
        },
        // The database is away: the next renewal may still be in time, and recording progress checks the lease anyway.
        () => undefined,
      );
    },
    (leaseSeconds * 1000) / 3,
  );
  return () => clearInterval(renewal);
}

function rowOf({ id, name, algorithm }: UploadAlone): LeasedRow {
  return {
    id,
    repository_name: name,
    algorithm,
    byte_offset: 0,
    digest_so_far: null,
    storage_state: null,
    other_places: [],
    closed: false,
    taken_over: false,
  };
}

async function endUpload(
  queryer: Queryer,
  id: string,
  token: string,
  places: readonly UploadState[],
): Promise<boolean> {
  if (!(await deleteLeasedUpload(queryer, id, token))) return false;
  if (places.length > 0) await queuePlaceDeletions(queryer, places, 'its upload has ended');
  return true;
}

/** What a writer is told that has lost its lease, or was asked to let go. */
export function takenOver(): RegistryError {
  return new RegistryError('uploadBusy', { message: 'another request took over this upload' });
}
