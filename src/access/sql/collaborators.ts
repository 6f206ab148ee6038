/** Who has a role on one repository, and where it comes from. */
import type { Queryer } from '../../database/pool.ts';
import type { Role } from '../roles.ts';

export type RoleSource = 'owner' | 'organization' | 'team' | 'collaborator';

export interface RepositoryMemberRow {
  readonly kind: 'user' | 'team';
  readonly name: string;
  /** The strongest of them. */
  readonly role: Role;
  /** In the order of their strength. `team` is null where the role does not come by one. */
  readonly sources: readonly { readonly source: RoleSource; readonly team: string | null; readonly role: Role }[];
}

/** Every single role that somebody or some team has on the repository $1 of the namespace $2. */
const given = `
  SELECT 'user' AS kind, u.name, 'owner' AS source, NULL AS team, 4 AS role
  FROM namespaces n JOIN users u ON u.id = n.owner_id WHERE n.id = $2
  UNION ALL
  SELECT 'user', u.name, 'organization', NULL, m.role
  FROM namespace_members m JOIN users u ON u.id = m.user_id WHERE m.namespace_id = $2
  UNION ALL
  SELECT 'team', t.name, 'organization', NULL, t.role FROM teams t WHERE t.namespace_id = $2 AND t.role IS NOT NULL
  UNION ALL
  SELECT 'user', u.name, 'team', t.name, t.role
  FROM teams t JOIN team_members m ON m.team_id = t.id JOIN users u ON u.id = m.user_id
  WHERE t.namespace_id = $2 AND t.role IS NOT NULL
  UNION ALL
  SELECT 'user', u.name, 'collaborator', NULL, c.role
  FROM collaborators c JOIN users u ON u.id = c.user_id WHERE c.repository_id = $1
  UNION ALL
  SELECT 'team', t.name, 'collaborator', NULL, c.role
  FROM collaborators c JOIN teams t ON t.id = c.team_id WHERE c.repository_id = $1
  UNION ALL
  SELECT 'user', u.name, 'team', t.name, c.role
  FROM collaborators c JOIN teams t ON t.id = c.team_id JOIN team_members m ON m.team_id = t.id
  JOIN users u ON u.id = m.user_id WHERE c.repository_id = $1`;

const gathered = `
  kind, name COLLATE "C" AS name, max(role) AS role,
  json_agg(json_build_object('source', source, 'team', team, 'role', role) ORDER BY role DESC, source, team) AS sources`;

export interface RepositoryKey {
  readonly repositoryId: number;
  readonly namespaceId: number;
}

/** Teams, then users, behind `after`, in byte order of their names. */
export async function listRepositoryMembers(
  queryer: Queryer,
  { repositoryId, namespaceId }: RepositoryKey,
  after: readonly [string, string],
  limit: number,
): Promise<RepositoryMemberRow[]> {
  return queryer.query<RepositoryMemberRow>(
    `SELECT ${gathered} FROM (${given}) given
     WHERE (kind COLLATE "C", name COLLATE "C") > ($3, $4)
     GROUP BY kind, name ORDER BY kind COLLATE "C", name COLLATE "C" LIMIT $5`,
    [repositoryId, namespaceId, ...after, limit],
  );
}

export async function findRepositoryMember(
  queryer: Queryer,
  { repositoryId, namespaceId }: RepositoryKey,
  kind: 'user' | 'team',
  name: string,
): Promise<RepositoryMemberRow | undefined> {
  const rows = await queryer.query<RepositoryMemberRow>(
    `SELECT ${gathered} FROM (${given}) given WHERE kind = $3 AND name = $4 GROUP BY kind, name`,
    [repositoryId, namespaceId, kind, name],
  );
  return rows[0];
}

/** A user or a team, by its id. */
export type Collaborator = { readonly kind: 'user' | 'team'; readonly id: number };

/** Gives a role on one repository, or changes it. */
export async function putCollaborator(
  queryer: Queryer,
  repositoryId: number,
  { kind, id }: Collaborator,
  role: Role,
): Promise<void> {
  await queryer.query(
    `INSERT INTO collaborators (repository_id, ${kind}_id, role) VALUES ($1, $2, $3)
     ON CONFLICT (repository_id, ${kind}_id) DO UPDATE SET role = excluded.role`,
    [repositoryId, id, role],
  );
}

export async function deleteCollaborator(
  queryer: Queryer,
  repositoryId: number,
  { kind, id }: Collaborator,
): Promise<void> {
  await queryer.query(`DELETE FROM collaborators WHERE repository_id = $1 AND ${kind}_id = $2`, [repositoryId, id]);
}
