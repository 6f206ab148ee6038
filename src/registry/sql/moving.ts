/** Blobs whose bytes move from one store to another. */
import type { Queryer } from '../../database/pool.ts';
import type { StorageKey } from '../../storage/port.ts';

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
