/** Members of organizations. */
import type { Queryer } from '../../database/pool.ts';
import type { Role } from '../roles.ts';

export interface MemberRow {
  readonly userId: number;
  readonly name: string;
  readonly role: Role;
  readonly createdAt: Date;
}

const selectMember = `
  SELECT m.user_id AS "userId", u.name, m.role, m.created_at AS "createdAt"
  FROM namespace_members m JOIN users u ON u.id = m.user_id WHERE m.namespace_id = $1`;

export async function findMember(queryer: Queryer, namespaceId: number, name: string): Promise<MemberRow | undefined> {
  return (await queryer.query<MemberRow>(`${selectMember} AND u.name = $2`, [namespaceId, name]))[0];
}

/** Members behind `after`, in byte order of their names. */
export async function listMembers(
  queryer: Queryer,
  namespaceId: number,
  after: string,
  limit: number,
): Promise<MemberRow[]> {
  return queryer.query<MemberRow>(`${selectMember} AND u.name > $2 ORDER BY u.name LIMIT $3`, [
    namespaceId,
    after,
    limit,
  ]);
}

/** Makes somebody a member, or changes what they are. */
export async function putMember(queryer: Queryer, namespaceId: number, userId: number, role: Role): Promise<void> {
  await queryer.query(
    `INSERT INTO namespace_members (namespace_id, user_id, role) VALUES ($1, $2, $3)
     ON CONFLICT (namespace_id, user_id) DO UPDATE SET role = excluded.role`,
    [namespaceId, userId, role],
  );
}

/** Whether somebody else, whose account works, is an owner by name and not only by a team. To be asked under the namespace's lock. */
export async function hasOtherOwner(queryer: Queryer, namespaceId: number, userId: number): Promise<boolean> {
  const rows = await queryer.query(
    `SELECT 1 FROM namespace_members m JOIN users u ON u.id = m.user_id
     WHERE m.namespace_id = $1 AND m.user_id <> $2 AND m.role = 4 AND u.disabled_at IS NULL LIMIT 1`,
    [namespaceId, userId],
  );
  return rows.length > 0;
}

/** Takes somebody out of an organization: their membership, and all that they were given in it by name. */
export async function deleteMember(
  queryer: Queryer,
  namespaceId: number,
  userId: number,
): Promise<{ teams: string[]; repositories: string[] }> {
  const of = [namespaceId, userId];
  const teams = await queryer.query<{ name: string }>(
    `DELETE FROM team_members m USING teams t
     WHERE t.id = m.team_id AND t.namespace_id = $1 AND m.user_id = $2 RETURNING t.name`,
    of,
  );
  const repositories = await queryer.query<{ name: string }>(
    `DELETE FROM collaborators c USING repositories r
     WHERE r.id = c.repository_id AND r.namespace_id = $1 AND c.user_id = $2 RETURNING r.name`,
    of,
  );
  await queryer.query(
    `UPDATE invitations SET revoked_at = now()
     WHERE namespace_id = $1 AND user_id = $2 AND accepted_at IS NULL AND revoked_at IS NULL`,
    of,
  );
  await queryer.query('DELETE FROM namespace_members WHERE namespace_id = $1 AND user_id = $2', of);
  const namesOf = (rows: { name: string }[]): string[] => rows.map(({ name }) => name).toSorted();
  return { teams: namesOf(teams), repositories: namesOf(repositories) };
}

/** An account by its name, whether or not it works at the moment. */
export async function findUserId(queryer: Queryer, name: string): Promise<number | undefined> {
  return (await queryer.query<{ id: number }>('SELECT id FROM users WHERE name = $1', [name]))[0]?.id;
}
