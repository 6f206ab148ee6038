/**
 * Leases on upload sessions: two writers never interleave. A lease is a row's column with an expiry, renewed while its
 * holder works; within this process a second writer asks the first to let go, as tus does.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../database/pool.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/reference.ts';
import { findUpload, releaseLease, renewLease, takeLease, type LeasedRow } from './sql/uploads.ts';

/** The right to write into one upload, until `release`. */
export interface Lease {
  readonly row: LeasedRow;
  readonly token: string;
  /** Aborted when another writer wants the upload, or when the lease was lost. */
  readonly signal: AbortSignal;
  /** Says that the row no longer holds this lease: the statement that recorded the work gave it back, or deleted the row. */
  settled(): void;
  /** Gives the lease back if the row still has it. To be called once, whatever happened. */
  release(): Promise<void>;
}

export interface Leases {
  /** @throws RegistryError `uploadUnknown`; `uploadBusy` when another process writes and goes on writing */
  acquire(id: string, name: RepositoryName): Promise<Lease>;
}

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

  function hold(row: LeasedRow, token: string): Lease {
    const abort = new AbortController();
    const released = Promise.withResolvers<void>();
    const holder = { abort, released: released.promise };
    holders.set(row.id, holder);
    const renewal = setInterval(
      () => {
        renewLease(database, row.id, token, leaseSeconds).then(
          (kept) => {
            if (!kept) abort.abort(new RegistryError('uploadBusy', { message: 'the upload was taken over' }));
          },
          // The database is away: the next renewal may still be in time, and recording progress checks the lease anyway.
          () => undefined,
        );
      },
      (leaseSeconds * 1000) / 3,
    );
    let settled = false;
    return {
      row,
      token,
      signal: abort.signal,
      settled() {
        settled = true;
      },
      async release() {
        clearInterval(renewal);
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
  };
}

/** What a writer is told that has lost its lease, or was asked to let go. */
export function takenOver(): RegistryError {
  return new RegistryError('uploadBusy', { message: 'another request took over this upload' });
}
