/** Repositories and all that is in them, taken away at once. */
import type { Queryer } from '../../database/pool.ts';

/** What a deletion takes away. */
export interface Contents {
  readonly tags: number;
  readonly manifests: number;
  readonly blobs: number;
  /** Bytes of the blobs that no other repository has: what garbage collection will free. */
  readonly bytesFreed: number;
}

/** Counts what is in these repositories. */
export async function countContents(queryer: Queryer, repositoryIds: readonly number[]): Promise<Contents> {
  const rows = await queryer.query<Contents>(
    `SELECT
       (SELECT count(*) FROM tags WHERE repository_id = ANY ($1::bigint[])) AS tags,
       (SELECT count(*) FROM manifests WHERE repository_id = ANY ($1::bigint[])) AS manifests,
       (SELECT count(DISTINCT digest) FROM repository_blobs WHERE repository_id = ANY ($1::bigint[])) AS blobs,
       (SELECT COALESCE(sum(b.size), 0)::bigint FROM blobs b
        WHERE b.digest IN (SELECT digest FROM repository_blobs WHERE repository_id = ANY ($1::bigint[]))
          AND NOT EXISTS (SELECT 1 FROM repository_blobs other
            WHERE other.digest = b.digest AND other.repository_id <> ALL ($1::bigint[]))) AS "bytesFreed"`,
    [repositoryIds],
  );
  return rows[0]!;
}

/** Locks repositories against everything, in key order. Waits for pushes that are under way. */
export async function lockForDeletion(queryer: Queryer, repositoryIds: readonly number[]): Promise<void> {
  await queryer.query('SELECT 1 FROM repositories WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE', [
    repositoryIds,
  ]);
}

const inRepositories = 'WHERE repository_id = ANY ($1::bigint[])';

/**
 * Deletes locked repositories. Their blobs are left to the garbage collector, which is told of each; robots of theirs end;
 * the history of their tags stays.
 */
export async function deleteRepositories(
  queryer: Queryer,
  repositoryIds: readonly number[],
  reviewDelayHours: number,
): Promise<void> {
  const of = [repositoryIds];
  await queryer.query(`DELETE FROM tags ${inRepositories}`, of);
  await queryer.query(`DELETE FROM manifest_references ${inRepositories}`, of);
  await queryer.query(`DELETE FROM manifests ${inRepositories}`, of);
  await queryer.query(
    `INSERT INTO gc_blob_reviews AS review (digest, review_after, reason)
     SELECT DISTINCT digest, now() + make_interval(hours => $2), 'repository-deleted' FROM repository_blobs ${inRepositories}
     ORDER BY digest
     ON CONFLICT (digest) DO UPDATE SET
       review_after = greatest(review.review_after, excluded.review_after), reason = excluded.reason`,
    [repositoryIds, reviewDelayHours],
  );
  await queryer.query(`DELETE FROM repository_blobs ${inRepositories}`, of);
  for (const table of ['gc_link_reviews', 'gc_manifest_reviews', 'repository_aliases', 'collaborators', 'invitations'])
    await queryer.query(`DELETE FROM ${table} ${inRepositories}`, of);
  await queryer.query(`UPDATE credentials SET revoked_at = now() ${inRepositories} AND revoked_at IS NULL`, of);
  await queryer.query('DELETE FROM repositories WHERE id = ANY ($1::bigint[])', of);
}

/** All repositories of a namespace, in byte order of their names. */
export async function repositoriesOf(queryer: Queryer, namespaceId: number): Promise<{ id: number; name: string }[]> {
  return queryer.query('SELECT id, name FROM repositories WHERE namespace_id = $1 ORDER BY name', [namespaceId]);
}

/** FOR UPDATE: a first push that is about to make a repository in it holds FOR KEY SHARE, and either is seen or finds nothing. */
export async function lockNamespaceForDeletion(queryer: Queryer, namespaceId: number): Promise<boolean> {
  const rows = await queryer.query('SELECT 1 FROM namespaces WHERE id = $1 FOR UPDATE', [namespaceId]);
  return rows.length > 0;
}

/** What of a namespace goes with it beside its repositories. */
export interface NamespaceContents {
  readonly members: number;
  readonly teams: number;
  readonly robots: number;
}

export async function countNamespace(queryer: Queryer, namespaceId: number): Promise<NamespaceContents> {
  const rows = await queryer.query<NamespaceContents>(
    `SELECT
       (SELECT count(*) FROM namespace_members WHERE namespace_id = $1) AS members,
       (SELECT count(*) FROM teams WHERE namespace_id = $1) AS teams,
       (SELECT count(*) FROM credentials WHERE namespace_id = $1 AND revoked_at IS NULL) AS robots`,
    [namespaceId],
  );
  return rows[0]!;
}

/** Deletes a locked namespace without repositories. Its robots end. */
export async function deleteNamespaceRow(queryer: Queryer, namespaceId: number): Promise<void> {
  const of = [namespaceId];
  await queryer.query('DELETE FROM invitations WHERE namespace_id = $1', of);
  await queryer.query('DELETE FROM granted_roles WHERE namespace_id = $1', of);
  await queryer.query('DELETE FROM team_members WHERE team_id IN (SELECT id FROM teams WHERE namespace_id = $1)', of);
  await queryer.query('DELETE FROM teams WHERE namespace_id = $1', of);
  await queryer.query('DELETE FROM namespace_members WHERE namespace_id = $1', of);
  await queryer.query('UPDATE credentials SET revoked_at = now() WHERE namespace_id = $1 AND revoked_at IS NULL', of);
  await queryer.query('DELETE FROM namespaces WHERE id = $1', of);
}
