/** Blobs whose bytes move from one store to another. */
import type { Queryer } from '../../database/pool.ts';
import type { StorageKey, UploadState } from '../../storage/port.ts';

export interface StoredBlobRow {
  readonly digest: Buffer;
  readonly size: number;
  readonly storage_key: StorageKey;
}

/** The next blobs behind this digest, in the order of digests. */
export async function pageOfBlobs(queryer: Queryer, after: Buffer, limit: number): Promise<StoredBlobRow[]> {
  return queryer.query<StoredBlobRow>(
    'SELECT digest, size, storage_key FROM blobs WHERE digest > $1 ORDER BY digest LIMIT $2',
    [after, limit],
  );
}

/** Gives a blob another object. False when it is gone, or has got another one meanwhile. */
export async function moveBlob(queryer: Queryer, blob: StoredBlobRow, to: StorageKey): Promise<boolean> {
  const rows = await queryer.query(
    'UPDATE blobs SET storage_key = $3 WHERE digest = $1 AND storage_key = $2 RETURNING digest',
    [blob.digest, blob.storage_key, to],
  );
  return rows.length > 0;
}

/** An object that is deleted after so many hours: whoever has just read its key may still want its bytes. */
export async function queueLaterDeletion(
  queryer: Queryer,
  key: StorageKey,
  hours: number,
  cause: string,
): Promise<void> {
  await queryer.query(
    'INSERT INTO storage_deletions (storage_key, cause, try_after) VALUES ($1, $2, now() + make_interval(hours => $3))',
    [key, cause, hours],
  );
}

/** A place that is given up after so many hours, and its object, unless a blob has that by then. */
export async function queueLaterGivingUp(
  queryer: Queryer,
  place: UploadState,
  hours: number,
  cause: string,
): Promise<void> {
  await queryer.query(
    'INSERT INTO storage_deletions (upload_state, cause, try_after) VALUES ($1, $2, now() + make_interval(hours => $3))',
    [JSON.stringify(place), cause, hours],
  );
}
