/** Whose rows of the audit log somebody may see. */
import type { Queryer } from '../../database/pool.ts';

/** The namespaces that an account owns as a whole. */
export async function listOwnedNamespaces(queryer: Queryer, userId: number): Promise<number[]> {
  const rows = await queryer.query<{ namespace_id: number }>(
    'SELECT namespace_id FROM granted_roles WHERE user_id = $1 AND repository_id = 0 AND role = 4',
    [userId],
  );
  return rows.map((row) => row.namespace_id);
}
