/** Bytes that nothing names any more, until they are gone from storage. */
import type { Queryer } from '../../database/pool.ts';
import type { StorageKey, UploadState } from '../../storage/port.ts';
import { isHeld } from './storage-holds.ts';

/** Of an object, or of an upload's place. */
export type StorageDeletion = {
  readonly id: number;
  /** This one included. */
  readonly attempts: number;
} & (
  | { readonly storage_key: StorageKey; readonly upload_state: null }
  | { readonly storage_key: null; readonly upload_state: UploadState }
);

/**
 * An object; deleted once this transaction has committed.
 * @param afterHours how long whoever has just read its key may still want its bytes
 */
export async function queueStorageDeletion(
  queryer: Queryer,
  storageKey: string,
  cause: string,
  afterHours = 0,
): Promise<void> {
  await queryer.query(
    'INSERT INTO storage_deletions (storage_key, cause, try_after) VALUES ($1, $2, now() + make_interval(hours => $3))',
    [storageKey, cause, afterHours],
  );
}

/**
 * Places of uploads, with their objects unless blobs have these by then; freed once this transaction has committed.
 * @param afterHours how long somebody may still be filling them
 */
export async function queuePlaceDeletions(
  queryer: Queryer,
  places: readonly UploadState[],
  cause: string,
  afterHours = 0,
): Promise<void> {
  await queryer.query(
    `INSERT INTO storage_deletions (upload_state, cause, try_after)
     SELECT unnest($1::jsonb[]), $2, now() + make_interval(hours => $3)`,
    [places.map((place) => JSON.stringify(place)), cause, afterHours],
  );
}

/**
 * Takes some deletions that are due, none while storage is held for a backup, and sets when each is due again: 10 minutes
 * after its first attempt, twice as long after each further one, at most a day. Whoever has taken one has that long to carry
 * it out before another process tries as well.
 */
export async function takeStorageDeletions(queryer: Queryer, limit: number): Promise<StorageDeletion[]> {
  return queryer.query<StorageDeletion>(
    `UPDATE storage_deletions
     SET attempts = attempts + 1, try_after = now() + make_interval(mins => least(10 * 2 ^ least(attempts, 10), 1440)::integer)
     WHERE id = ANY (ARRAY(
       SELECT id FROM storage_deletions WHERE try_after <= now() AND NOT ${isHeld} ORDER BY try_after LIMIT $1 FOR UPDATE SKIP LOCKED
     ))
     RETURNING id, storage_key, upload_state, attempts`,
    [limit],
  );
}

/** Which of these keys a blob has. */
export async function findKeysInUse(queryer: Queryer, keys: readonly StorageKey[]): Promise<StorageKey[]> {
  const rows = await queryer.query<{ storage_key: StorageKey }>(
    'SELECT storage_key FROM blobs WHERE storage_key = ANY ($1::text[])',
    [keys],
  );
  return rows.map((row) => row.storage_key);
}

/** Forgets deletions that have been carried out. */
export async function forgetStorageDeletions(queryer: Queryer, ids: readonly number[]): Promise<void> {
  await queryer.query('DELETE FROM storage_deletions WHERE id = ANY ($1::bigint[])', [ids]);
}
