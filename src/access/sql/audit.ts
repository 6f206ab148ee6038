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

export interface PlaceRow {
  readonly namespace_id: number | null;
  readonly repository_id: number | null;
}

/** @returns null for what is not there, or was not asked for */
export async function findPlace(
  queryer: Queryer,
  names: { readonly namespace: string | undefined; readonly repository: string | undefined },
): Promise<PlaceRow> {
  const rows = await queryer.query<PlaceRow>(
    `SELECT COALESCE(r.namespace_id, n.id) AS namespace_id, r.id AS repository_id
     FROM (SELECT) AS one LEFT JOIN namespaces n ON n.name = $1 LEFT JOIN repositories r ON r.name = $2`,
    [names.namespace, names.repository],
  );
  return rows[0]!;
}
