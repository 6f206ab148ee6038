/** Repositories: named places for manifests, and links to blobs. */
import type { Subject, Visibility } from '../../access/policy.ts';
import {
  coveredBy,
  coveredNames,
  readableCondition,
  readerNames,
  readerParameters,
} from '../../access/sql/readable.ts';
import type { Queryer } from '../../database/pool.ts';
import type { RepositoryName } from '../../oci/reference.ts';

export interface RepositoryIds {
  readonly id: number;
  readonly namespaceId: number;
}

/**
 * A repository, locked against its deletion until the transaction ends. FOR SHARE and not FOR KEY SHARE: whoever deletes or
 * renames a repository takes FOR UPDATE, and pushes never update the row, so they never wait for each other here.
 */
export async function shareRepository(queryer: Queryer, name: RepositoryName): Promise<RepositoryIds | undefined> {
  const rows = await queryer.query<RepositoryIds>(
    'SELECT id, namespace_id AS "namespaceId" FROM repositories WHERE name = $1 FOR SHARE',
    [name],
  );
  return rows[0];
}

/**
 * Inserts the repository where it is missing; a former name of another one is thereby taken. Undefined when somebody else
 * has made it, or when there is no such namespace (any more).
 */
export async function insertRepository(
  queryer: Queryer,
  name: RepositoryName,
  namespace: string,
  visibility: Visibility,
): Promise<RepositoryIds | undefined> {
  const rows = await queryer.query<RepositoryIds>(
    `INSERT INTO repositories (namespace_id, name, visibility)
     SELECT id, $2, $3 FROM namespaces WHERE name = $1 FOR KEY SHARE
     ON CONFLICT (name) DO NOTHING RETURNING id, namespace_id AS "namespaceId"`,
    [namespace, name, visibility],
  );
  if (rows[0] !== undefined) await takeAlias(queryer, name);
  return rows[0];
}

export interface RepositoryRow {
  readonly name: RepositoryName;
  readonly namespaceId: number;
  readonly visibility: Visibility;
}

/** Locks a repository for a change of its settings. Pushes wait, pulls do not. */
export async function lockRepository(queryer: Queryer, repositoryId: number): Promise<RepositoryRow | undefined> {
  const rows = await queryer.query<RepositoryRow>(
    'SELECT name, namespace_id AS "namespaceId", visibility FROM repositories WHERE id = $1 FOR NO KEY UPDATE',
    [repositoryId],
  );
  return rows[0];
}

/** Whether a repository has this name at this moment; whoever makes one at the same time meets the constraint. */
export async function isNameTaken(queryer: Queryer, name: RepositoryName): Promise<boolean> {
  return (await queryer.query('SELECT 1 FROM repositories WHERE name = $1', [name])).length > 0;
}

/** A name that somebody takes leads nowhere else any more. */
export async function takeAlias(queryer: Queryer, name: RepositoryName): Promise<void> {
  await queryer.query('DELETE FROM repository_aliases WHERE name = $1', [name]);
}

/** Renames a locked repository and keeps its old name for pulls. */
export async function renameRepository(
  queryer: Queryer,
  repositoryId: number,
  name: RepositoryName,
  namespaceId: number,
  oldName: RepositoryName,
): Promise<void> {
  await queryer.query('UPDATE repositories SET name = $2, namespace_id = $3, updated_at = now() WHERE id = $1', [
    repositoryId,
    name,
    namespaceId,
  ]);
  await queryer.query(
    `INSERT INTO repository_aliases (name, repository_id) VALUES ($1, $2)
     ON CONFLICT (name) DO UPDATE SET repository_id = excluded.repository_id, created_at = now()`,
    [oldName, repositoryId],
  );
}

/** What the old owner gave ends with a transfer: roles of his teams, robots of the repository, open invitations. */
export async function leaveNamespace(queryer: Queryer, repositoryId: number): Promise<void> {
  await queryer.query('DELETE FROM collaborators WHERE repository_id = $1 AND team_id IS NOT NULL', [repositoryId]);
  await queryer.query('DELETE FROM invitations WHERE repository_id = $1', [repositoryId]);
  await queryer.query('UPDATE credentials SET revoked_at = now() WHERE repository_id = $1 AND revoked_at IS NULL', [
    repositoryId,
  ]);
}

/** The present name of a repository. */
export async function findName(queryer: Queryer, repositoryId: number): Promise<RepositoryName | undefined> {
  const rows = await queryer.query<{ name: RepositoryName }>('SELECT name FROM repositories WHERE id = $1', [
    repositoryId,
  ]);
  return rows[0]?.name;
}

export async function updateVisibility(queryer: Queryer, repositoryId: number, visibility: Visibility): Promise<void> {
  await queryer.query('UPDATE repositories SET visibility = $2, updated_at = now() WHERE id = $1', [
    repositoryId,
    visibility,
  ]);
}

/** Repositories are listed from their first manifest on. */
const listed = 'EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id)';

/** All repositories behind `last` that an administrator's credential covers, in byte order. */
async function listAll(queryer: Queryer, subject: Subject, last: string, limit: number): Promise<string[]> {
  const rows = await queryer.query<{ name: string }>(
    `SELECT name FROM repositories r WHERE name > $1 AND ${listed} AND (r.visibility = 'public' OR ${coveredBy('$3')})
     ORDER BY name LIMIT $2`,
    [last, limit, coveredNames(subject)],
  );
  return rows.map((row) => row.name);
}

/**
 * The repositories behind `last` that the subject may pull, in byte order. Each branch walks its own index from `last` on, so
 * the cost is that of the page, however many repositories there are.
 */
export async function listVisible(queryer: Queryer, subject: Subject, last: string, limit: number): Promise<string[]> {
  if (subject.user?.admin === true) return listAll(queryer, subject, last, limit);
  const reader = readerNames(3);
  const page = `r.name > $1 AND ${listed}`;
  const ordered = 'ORDER BY name LIMIT $2';
  const rows = await queryer.query<{ name: string }>(
    `SELECT name FROM (
       (SELECT name FROM repositories r WHERE visibility = 'public' AND ${page} ${ordered})
       UNION
       (SELECT name FROM repositories r
        WHERE visibility = 'internal' AND ${reader.signedIn} AND NOT ${reader.admin} AND ${page} AND ${reader.covered} ${ordered})
       UNION
       (SELECT own.name FROM granted_roles g CROSS JOIN LATERAL (
          SELECT name FROM repositories r WHERE r.namespace_id = g.namespace_id AND ${page} AND ${reader.covered} ${ordered}
        ) own WHERE g.user_id = ${reader.userId} AND g.repository_id = 0 ORDER BY own.name LIMIT $2)
       UNION
       (SELECT r.name FROM granted_roles g JOIN repositories r ON r.id = g.repository_id
        WHERE g.user_id = ${reader.userId} AND g.repository_id <> 0 AND ${page} AND ${reader.covered} ORDER BY r.name LIMIT $2)
       UNION
       (SELECT name FROM repositories r
        WHERE r.namespace_id = ${reader.robotNamespaceId} AND ${reader.robotRepositoryId} IS NULL AND ${page} AND ${reader.covered} ${ordered})
       UNION
       (SELECT name FROM repositories r
        WHERE r.id = ${reader.robotRepositoryId} AND r.namespace_id = ${reader.robotNamespaceId} AND ${page} AND ${reader.covered})
     ) visible ORDER BY name LIMIT $2`,
    [last, limit, ...readerParameters(subject)],
  );
  return rows.map((row) => row.name);
}

/** Those of these repositories that are there and listed, and that the subject may pull; in byte order. */
export async function filterVisible(queryer: Queryer, subject: Subject, names: readonly string[]): Promise<string[]> {
  const rows = await queryer.query<{ name: string }>(
    `SELECT found.name FROM unnest($1::text[]) AS asked (name) CROSS JOIN LATERAL (
       SELECT name FROM repositories r WHERE r.name = asked.name AND ${listed} AND ${readableCondition(2)} OFFSET 0
     ) found ORDER BY found.name`,
    [names, ...readerParameters(subject)],
  );
  return rows.map((row) => row.name);
}
