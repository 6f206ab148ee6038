/** All that a decision about one account and one repository rests on, read at leisure. */
import type { Queryer } from '../../database/pool.ts';
import type { Grant } from '../grants.ts';
import type { CredentialKind, Visibility } from '../policy.ts';
import type { Role } from '../roles.ts';

export interface AccountRow {
  readonly id: number;
  readonly name: string;
  readonly admin: boolean;
  readonly disabled: boolean;
}

export async function findAccount(queryer: Queryer, name: string): Promise<AccountRow | undefined> {
  const rows = await queryer.query<AccountRow>(
    'SELECT id, name, is_admin AS admin, disabled_at IS NOT NULL AS disabled FROM users WHERE name = $1',
    [name],
  );
  return rows[0];
}

export interface PlaceRow {
  readonly namespaceId: number | null;
  readonly repositoryId: number | null;
  readonly visibility: Visibility | null;
}

/** The repository of this name and its namespace; or only the namespace, or neither. */
export async function findPlace(queryer: Queryer, name: string, namespace: string): Promise<PlaceRow> {
  const rows = await queryer.query<PlaceRow>(
    `SELECT COALESCE(r.namespace_id, n.id) AS "namespaceId", r.id AS "repositoryId", r.visibility
     FROM (SELECT 1) one
     LEFT JOIN repositories r ON r.name = $1
     LEFT JOIN namespaces n ON n.name = $2`,
    [name, namespace],
  );
  return rows[0]!;
}

export interface RoleSourceRow {
  readonly kind: 'namespace' | 'member' | 'team' | 'collaborator' | 'collaborating team';
  /** The team's name; null for all others. */
  readonly team: string | null;
  readonly role: Role;
}

/** Where an account's roles come from, the strongest first; the strongest of them is what counts. */
export async function findRoleSources(
  queryer: Queryer,
  userId: number,
  { namespaceId, repositoryId }: PlaceRow,
): Promise<RoleSourceRow[]> {
  return queryer.query<RoleSourceRow>(
    `SELECT kind, team, role FROM (
       SELECT 'namespace' AS kind, NULL AS team, 4 AS role FROM namespaces WHERE id = $2 AND owner_id = $1
       UNION ALL
       SELECT 'member', NULL, role FROM namespace_members WHERE namespace_id = $2 AND user_id = $1
       UNION ALL
       SELECT 'team', t.name, t.role FROM teams t JOIN team_members m ON m.team_id = t.id AND m.user_id = $1
       WHERE t.namespace_id = $2 AND t.role IS NOT NULL
       UNION ALL
       SELECT 'collaborator', NULL, role FROM collaborators WHERE repository_id = $3 AND user_id = $1
       UNION ALL
       SELECT 'collaborating team', t.name, c.role FROM collaborators c
       JOIN teams t ON t.id = c.team_id JOIN team_members m ON m.team_id = t.id AND m.user_id = $1
       WHERE c.repository_id = $3
     ) source ORDER BY role DESC, kind, team`,
    [userId, namespaceId, repositoryId],
  );
}

export interface CredentialRow {
  readonly id: number;
  readonly kind: CredentialKind;
  readonly name: string | null;
  readonly grants: readonly Grant[] | null;
  readonly revoked: boolean;
  readonly expired: boolean;
}

/** A personal token of this account, by its id. */
export async function findTokenOf(queryer: Queryer, userId: number, id: number): Promise<CredentialRow | undefined> {
  const rows = await queryer.query<CredentialRow>(
    `SELECT id, kind, name, grants, revoked_at IS NOT NULL AS revoked,
       COALESCE(expires_at <= now(), false) AS expired
     FROM credentials WHERE id = $2 AND user_id = $1 AND kind = 'token'`,
    [userId, id],
  );
  return rows[0];
}
