/** Blobs, and the links that say which repository has which. */
import type { Subject } from '../../access/policy.ts';
import { readableCondition, readerParameters } from '../../access/sql/readable.ts';
import type { Queryer } from '../../database/pool.ts';

/**
 * Inserts the blob unless its digest is there already; either way the row is locked against deletion until the transaction
 * ends. Returns the storage key that counts: another one than given means that somebody was first. Undefined: the row was
 * deleted between the two statements; the caller tries again.
 */
export async function insertOrShareBlob(
  queryer: Queryer,
  digest: Buffer,
  size: number,
  storageKey: string,
): Promise<string | undefined> {
  const inserted = await queryer.query<{ storage_key: string }>(
    'INSERT INTO blobs (digest, size, storage_key) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING RETURNING storage_key',
    [digest, size, storageKey],
  );
  if (inserted[0] !== undefined) return inserted[0].storage_key;
  const existing = await queryer.query<{ storage_key: string }>(
    'SELECT storage_key FROM blobs WHERE digest = $1 FOR KEY SHARE',
    [digest],
  );
  return existing[0]?.storage_key;
}

/** Locks a blob against deletion. False when there is none. */
export async function shareBlob(queryer: Queryer, digest: Buffer): Promise<boolean> {
  const rows = await queryer.query('SELECT 1 FROM blobs WHERE digest = $1 FOR KEY SHARE', [digest]);
  return rows.length > 0;
}

export async function insertLink(queryer: Queryer, repositoryId: number, digest: Buffer): Promise<void> {
  await queryer.query(
    'INSERT INTO repository_blobs (repository_id, digest) VALUES ($1, $2) ON CONFLICT (repository_id, digest) DO NOTHING',
    [repositoryId, digest],
  );
}

/** Locks the links of a repository to these blobs against deletion, and returns those that are there. In key order, against deadlocks. */
export async function shareLinks(
  queryer: Queryer,
  repositoryId: number,
  digests: readonly Buffer[],
): Promise<Buffer[]> {
  if (digests.length === 0) return [];
  const rows = await queryer.query<{ digest: Buffer }>(
    'SELECT digest FROM repository_blobs WHERE repository_id = $1 AND digest = ANY ($2::bytea[]) ORDER BY digest FOR KEY SHARE',
    [repositoryId, digests],
  );
  return rows.map((row) => row.digest);
}

/** Locks one link for deletion. False when there is none. */
export async function lockLink(queryer: Queryer, repositoryId: number, digest: Buffer): Promise<boolean> {
  const rows = await queryer.query(
    'SELECT 1 FROM repository_blobs WHERE repository_id = $1 AND digest = $2 FOR UPDATE',
    [repositoryId, digest],
  );
  return rows.length > 0;
}

export async function deleteLink(queryer: Queryer, repositoryId: number, digest: Buffer): Promise<void> {
  await queryer.query('DELETE FROM repository_blobs WHERE repository_id = $1 AND digest = $2', [repositoryId, digest]);
}

/** A manifest of the repository that names this blob; undefined when none does. */
export async function findReferringManifest(
  queryer: Queryer,
  repositoryId: number,
  digest: Buffer,
): Promise<Buffer | undefined> {
  const rows = await queryer.query<{ parent: Buffer }>(
    `SELECT parent FROM manifest_references WHERE repository_id = $1 AND child = $2 AND kind <> 'manifest' LIMIT 1`,
    [repositoryId, digest],
  );
  return rows[0]?.parent;
}

/** Whether one repository has a link to the blob. */
export async function hasLink(queryer: Queryer, repositoryId: number, digest: Buffer): Promise<boolean> {
  const rows = await queryer.query('SELECT 1 FROM repository_blobs WHERE repository_id = $1 AND digest = $2', [
    repositoryId,
    digest,
  ]);
  return rows.length > 0;
}

/** Whether any repository that the subject may pull has a link to the blob. */
export async function hasReadableLink(queryer: Queryer, digest: Buffer, subject: Subject): Promise<boolean> {
  const rows = await queryer.query(
    `SELECT 1 FROM repository_blobs l JOIN repositories r ON r.id = l.repository_id
     WHERE l.digest = $1 AND ${readableCondition(2)} LIMIT 1`,
    [digest, ...readerParameters(subject)],
  );
  return rows.length > 0;
}
