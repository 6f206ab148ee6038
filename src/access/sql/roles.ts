/** Roles as they are given, expanded into `granted_roles`, where every request looks for them. */
import type { Queryer } from '../../database/pool.ts';

/** Locks a namespace for a change of its members, teams, collaborators or name. False when it is not there any more. */
export async function lockNamespace(queryer: Queryer, namespaceId: number): Promise<boolean> {
  const rows = await queryer.query('SELECT 1 FROM namespaces WHERE id = $1 FOR NO KEY UPDATE', [namespaceId]);
  return rows.length > 0;
}

/**
 * Makes `granted_roles` of a namespace what its owner, members, teams and collaborators say; only rows that differ are
 * written. To be called at the end of every transaction that changed one of those, which has locked the namespace first:
 * two that looked at once would each miss what the other wrote.
 */
export async function refreshGrantedRoles(queryer: Queryer, namespaceId: number): Promise<void> {
  await queryer.query(
    `WITH given AS (
       SELECT owner_id AS user_id, 0 AS repository_id, 4 AS role FROM namespaces WHERE id = $1 AND owner_id IS NOT NULL
       UNION ALL
       SELECT user_id, 0, role FROM namespace_members WHERE namespace_id = $1
       UNION ALL
       SELECT m.user_id, 0, t.role FROM teams t JOIN team_members m ON m.team_id = t.id
       WHERE t.namespace_id = $1 AND t.role IS NOT NULL
       UNION ALL
       SELECT COALESCE(c.user_id, m.user_id), c.repository_id, c.role
       FROM repositories r JOIN collaborators c ON c.repository_id = r.id LEFT JOIN team_members m ON m.team_id = c.team_id
       WHERE r.namespace_id = $1 AND COALESCE(c.user_id, m.user_id) IS NOT NULL
     ), wanted AS (
       SELECT user_id, repository_id, max(role) AS role FROM given GROUP BY user_id, repository_id
     ), gone AS (
       DELETE FROM granted_roles g WHERE namespace_id = $1
         AND NOT EXISTS (SELECT 1 FROM wanted w WHERE w.user_id = g.user_id AND w.repository_id = g.repository_id)
     )
     INSERT INTO granted_roles AS g (user_id, namespace_id, repository_id, role)
     SELECT user_id, $1, repository_id, role FROM wanted
     ON CONFLICT (user_id, namespace_id, repository_id) DO UPDATE SET role = excluded.role WHERE g.role <> excluded.role`,
    [namespaceId],
  );
}
