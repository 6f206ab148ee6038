/**
 * Holds deletions from storage while a backup is made. The order is: hold, dump the database, copy the objects, release.
 * Whatever the dump names stays until it has been copied: an object's row goes into `storage_deletions` in the transaction
 * that takes its last name away, and from there on nothing is taken while the hold lasts. What was taken just before it had
 * lost its name before, so the dump does not name it.
 */
import type { Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { deleteHold, findHold, setHold, type HoldRow } from './sql/storage-holds.ts';

export interface StorageHold {
  readonly since: Date;
  /** Deletions begin again at this time by themselves. */
  readonly until: Date;
  /** Who asked for it last. */
  readonly by: string | null;
}

/** A hold of a week is a forgotten one. */
export const holdHoursMax = 168;

const holdOf = (row: HoldRow): StorageHold => ({ since: row.held_at, until: row.held_until, by: row.held_by });

/** Null when deletions go on. */
export async function storageHold(queryer: Queryer): Promise<StorageHold | null> {
  const row = await findHold(queryer);
  return row === undefined ? null : holdOf(row);
}

/** Makes a hold for so many hours from now; one that lasts already gets this end. In the caller's transaction. */
export async function holdStorage(queryer: Queryer, hours: number, actor: Actor): Promise<StorageHold> {
  const before = await storageHold(queryer);
  const hold = holdOf(await setHold(queryer, hours, actor.name));
  await recordAudit(queryer, actor, {
    action: 'storage.hold',
    target: 'storage',
    before: before === null ? undefined : { until: before.until },
    after: { until: hold.until },
    outcome: 'done',
  });
  return hold;
}

/** Ends the hold; nothing to say where there is none. In the caller's transaction. */
export async function releaseStorage(queryer: Queryer, actor: Actor): Promise<void> {
  const before = await storageHold(queryer);
  if (before === null) return;
  await deleteHold(queryer);
  const entry = { action: 'storage.release', target: 'storage', before: { until: before.until } } as const;
  await recordAudit(queryer, actor, { ...entry, outcome: 'done' });
}
