/** Credentials with names: personal access tokens, and robots. */
import type { Queryer } from '../../database/pool.ts';
import type { ApiScope } from '../api-scopes.ts';
import type { Grant } from '../grants.ts';

export interface NamedCredentialRow {
  readonly id: number;
  readonly kind: 'token' | 'robot';
  /** A robot's is what it logs in with. */
  readonly name: string;
  /** Whose token it is; null for robots. */
  readonly user_id: number | null;
  readonly username: string | null;
  /** What a robot belongs to; null for tokens. */
  readonly namespace_id: number | null;
  readonly namespace: string | null;
  readonly repository_id: number | null;
  readonly repository: string | null;
  readonly grants: readonly Grant[];
  readonly api_scopes: readonly ApiScope[];
  readonly created_at: Date;
  /** The account that made it; null where that was the command line. */
  readonly created_by: string | null;
  readonly expires_at: Date | null;
  readonly revoked_at: Date | null;
  /** Neither expired nor revoked. */
  readonly live: boolean;
  /** What it was rotated to. */
  readonly replaced_by: number | null;
  readonly last_used_at: Date | null;
  readonly last_used_address: string | null;
  readonly last_used_client: string | null;
}

const isLive = 'c.revoked_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > now())';

/** Successors have the same owner, by which an index finds them. */
const replacedBy = (owner: string): string =>
  `(SELECT max(n.id) FROM credentials n WHERE n.${owner} = c.${owner} AND n.kind = c.kind AND n.rotated_from = c.id)`;

const select = `
  SELECT c.id, c.kind, c.name, c.user_id, u.name AS username, c.namespace_id, n.name AS namespace,
    c.repository_id, r.name AS repository, c.grants, c.api_scopes, c.created_at, maker.name AS created_by,
    c.expires_at, c.revoked_at, (${isLive}) AS live,
    CASE WHEN c.kind = 'token' THEN ${replacedBy('user_id')} ELSE ${replacedBy('namespace_id')} END AS replaced_by,
    c.last_used_at, c.last_used_address, c.last_used_client
  FROM credentials c
  LEFT JOIN users u ON u.id = c.user_id
  LEFT JOIN users maker ON maker.id = c.created_by
  LEFT JOIN namespaces n ON n.id = c.namespace_id
  LEFT JOIN repositories r ON r.id = c.repository_id`;

export async function findNamedCredential(
  queryer: Queryer,
  kind: 'token' | 'robot',
  id: number,
): Promise<NamedCredentialRow | undefined> {
  const rows = await queryer.query<NamedCredentialRow>(`${select} WHERE c.id = $1 AND c.kind = $2`, [id, kind]);
  return rows[0];
}

/** A page of what somebody or something owns, the newest first. */
export interface Page {
  /** The id behind which it begins; null for the first one. */
  readonly before: number | null;
  readonly limit: number;
  /** Whether those that expired or were revoked are shown, too. */
  readonly ended: boolean;
}

const pageOf = (owner: string): string =>
  `${select} WHERE ${owner} AND ($2::bigint IS NULL OR c.id < $2) AND ($3::boolean OR (${isLive})) ORDER BY c.id DESC LIMIT $4`;

export async function listTokensOf(
  queryer: Queryer,
  userId: number,
  { before, limit, ended }: Page,
): Promise<NamedCredentialRow[]> {
  return queryer.query(pageOf(`c.user_id = $1 AND c.kind = 'token'`), [userId, before, ended, limit]);
}

/** @param repositoryId null for all robots of the namespace, its repositories' ones included */
export async function listRobotsOf(
  queryer: Queryer,
  { namespaceId, repositoryId }: { readonly namespaceId: number; readonly repositoryId: number | null },
  { before, limit, ended }: Page,
): Promise<NamedCredentialRow[]> {
  const owner = `c.namespace_id = $1 AND c.kind = 'robot' AND ($5::bigint IS NULL OR c.repository_id = $5)`;
  return queryer.query(pageOf(owner), [namespaceId, before, ended, limit, repositoryId]);
}

/** Who owns a credential: an account, or a namespace for the robots of it and of its repositories. */
export type CredentialOwner = { readonly userId: number } | { readonly namespaceId: number };

/** How many live ones an owner has, and how many of them have this name. */
export async function countLive(
  queryer: Queryer,
  owner: CredentialOwner,
  name: string,
): Promise<{ readonly all: number; readonly named: number }> {
  const [column, id, kind] =
    'userId' in owner ? ['user_id', owner.userId, 'token'] : ['namespace_id', owner.namespaceId, 'robot'];
  const rows = await queryer.query<{ all: number; named: number }>(
    `SELECT count(*) AS all, count(*) FILTER (WHERE c.name = $3) AS named
     FROM credentials c WHERE c.${column} = $1 AND c.kind = $2 AND ${isLive}`,
    [id, kind, name],
  );
  return rows[0]!;
}

export interface NewNamedCredential {
  readonly kind: 'token' | 'robot';
  readonly name: string;
  readonly userId: number | null;
  readonly namespaceId: number | null;
  readonly repositoryId: number | null;
  readonly secretHash: string;
  readonly grants: readonly Grant[];
  readonly apiScopes: readonly ApiScope[];
  readonly expiresAt: Date | null;
  readonly rotatedFrom: number | null;
  readonly createdBy: number | null;
}

export async function insertNamedCredential(queryer: Queryer, row: NewNamedCredential): Promise<number> {
  const rows = await queryer.query<{ id: number }>(
    `INSERT INTO credentials (kind, name, user_id, namespace_id, repository_id, secret_hash, grants, api_scopes, expires_at,
       rotated_from, created_by)
     VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $10, $11) RETURNING id`,
    [
      row.kind,
      row.name,
      row.userId,
      row.namespaceId,
      row.repositoryId,
      row.secretHash,
      JSON.stringify(row.grants),
      row.apiScopes,
      row.expiresAt,
      row.rotatedFrom,
      row.createdBy,
    ],
  );
  return rows[0]!.id;
}

/** Ends a credential so many seconds from now, if it does not end before. @returns when that is */
export async function endCredentialIn(queryer: Queryer, id: number, seconds: number): Promise<Date> {
  const rows = await queryer.query<{ expires_at: Date }>(
    `UPDATE credentials SET expires_at = least(expires_at, now() + make_interval(secs => $2)) WHERE id = $1
     RETURNING expires_at`,
    [id, seconds],
  );
  return rows[0]!.expires_at;
}

/** Revokes a credential and those that it was rotated from; in key order. @returns the ids that were alive */
export async function revokeCredential(queryer: Queryer, id: number): Promise<number[]> {
  const rows = await queryer.query<{ id: number }>(
    `WITH RECURSIVE line AS (
       SELECT id, rotated_from FROM credentials WHERE id = $1
       UNION SELECT older.id, older.rotated_from FROM credentials older JOIN line ON older.id = line.rotated_from
     ), locked AS (
       SELECT c.id FROM credentials c JOIN line USING (id) WHERE ${isLive} ORDER BY c.id FOR NO KEY UPDATE OF c
     )
     UPDATE credentials c SET revoked_at = now() FROM locked WHERE c.id = locked.id RETURNING c.id`,
    [id],
  );
  return rows.map((row) => row.id);
}

export interface AccountRow {
  readonly id: number;
  readonly name: string;
  /** The namespace of the account's own name. */
  readonly namespace_id: number | null;
}

const account = `SELECT u.id, u.name, (SELECT n.id FROM namespaces n WHERE n.owner_id = u.id LIMIT 1) AS namespace_id FROM users u`;

export async function findAccount(queryer: Queryer, name: string): Promise<AccountRow | undefined> {
  const rows = await queryer.query<AccountRow>(`${account} WHERE u.name = $1`, [name]);
  return rows[0];
}

/** Locks an account for a change of its tokens. */
export async function lockAccount(queryer: Queryer, userId: number): Promise<AccountRow | undefined> {
  const rows = await queryer.query<AccountRow>(`${account} WHERE u.id = $1 FOR NO KEY UPDATE OF u`, [userId]);
  return rows[0];
}

/** A namespace, and what an account is in the whole of it. */
export interface NamespaceStandingRow {
  readonly id: number;
  readonly name: string;
  readonly role: number | null;
}

export async function findNamespaceStanding(
  queryer: Queryer,
  name: string,
  userId: number | null,
): Promise<NamespaceStandingRow | undefined> {
  const rows = await queryer.query<NamespaceStandingRow>(
    `SELECT n.id, n.name, g.role FROM namespaces n
     LEFT JOIN granted_roles g ON g.user_id = $2 AND g.namespace_id = n.id AND g.repository_id = 0
     WHERE n.name = $1`,
    [name, userId],
  );
  return rows[0];
}

/** Keeps a repository from being renamed, moved or deleted until the transaction ends; pushes go on. @returns its name, while it is in this namespace */
export async function holdRepository(
  queryer: Queryer,
  repositoryId: number,
  namespaceId: number,
): Promise<string | undefined> {
  const rows = await queryer.query<{ name: string }>(
    'SELECT name FROM repositories WHERE id = $1 AND namespace_id = $2 FOR KEY SHARE',
    [repositoryId, namespaceId],
  );
  return rows[0]?.name;
}
