/** Repositories: named places for manifests, and links to blobs. */
import type { Visibility } from '../../access/policy.ts';
import type { Queryer } from '../../database/pool.ts';
import type { RepositoryName } from '../../oci/reference.ts';

/**
 * The id of a repository, locked against its deletion until the transaction ends. FOR SHARE and not FOR KEY SHARE: whoever
 * deletes a repository takes FOR UPDATE, and pushes never update the row, so they never wait for each other here.
 */
export async function shareRepository(queryer: Queryer, name: RepositoryName): Promise<number | undefined> {
  const rows = await queryer.query<{ id: number }>('SELECT id FROM repositories WHERE name = $1 FOR SHARE', [name]);
  return rows[0]?.id;
}

/** Inserts the namespace and the repository where they are missing. */
export async function insertRepository(
  queryer: Queryer,
  name: RepositoryName,
  namespace: string,
  visibility: Visibility,
): Promise<void> {
  await queryer.query('INSERT INTO namespaces (name) VALUES ($1) ON CONFLICT (name) DO NOTHING', [namespace]);
  await queryer.query(
    `INSERT INTO repositories (namespace_id, name, visibility)
     SELECT id, $2, $3 FROM namespaces WHERE name = $1
     ON CONFLICT (name) DO NOTHING`,
    [namespace, name, visibility],
  );
}

export async function updateVisibility(queryer: Queryer, repositoryId: number, visibility: Visibility): Promise<void> {
  await queryer.query('UPDATE repositories SET visibility = $2 WHERE id = $1', [repositoryId, visibility]);
}

/** Repositories are listed from their first manifest on. */
const listed = 'EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id)';

/** All repositories behind `last`, in byte order. */
export async function listAll(queryer: Queryer, last: string, limit: number): Promise<string[]> {
  const rows = await queryer.query<{ name: string }>(
    `SELECT name FROM repositories r WHERE name > $1 AND ${listed} ORDER BY name LIMIT $2`,
    [last, limit],
  );
  return rows.map((row) => row.name);
}

/**
 * The repositories behind `last` that are public or lie in a namespace of this account, in byte order. Each branch walks
 * its own index from `last` on, so the cost is that of the page, however many repositories there are.
 * @param userId null for the anonymous caller
 */
export async function listVisible(
  queryer: Queryer,
  userId: number | null,
  last: string,
  limit: number,
): Promise<string[]> {
  const rows = await queryer.query<{ name: string }>(
    `SELECT name FROM (
       (SELECT name FROM repositories r WHERE visibility = 'public' AND name > $2 AND ${listed} ORDER BY name LIMIT $3)
       UNION
       (SELECT own.name FROM namespaces n CROSS JOIN LATERAL (
          SELECT name FROM repositories r WHERE r.namespace_id = n.id AND r.name > $2 AND ${listed} ORDER BY name LIMIT $3
        ) own WHERE n.owner_id = $1 ORDER BY own.name LIMIT $3)
     ) visible ORDER BY name LIMIT $3`,
    [userId, last, limit],
  );
  return rows.map((row) => row.name);
}
