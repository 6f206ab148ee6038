/** Namespaces: the first component of repository names, a person's or an organization's. */
import type { Queryer } from '../../database/pool.ts';
import type { Role } from '../roles.ts';

export type NamespaceKind = 'user' | 'organization' | 'system';

/** @returns undefined when the name is taken */
export async function insertNamespace(
  queryer: Queryer,
  name: string,
  kind: NamespaceKind,
  ownerId: number | null,
): Promise<number | undefined> {
  const rows = await queryer.query<{ id: number }>(
    'INSERT INTO namespaces (name, kind, owner_id) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING RETURNING id',
    [name, kind, ownerId],
  );
  return rows[0]?.id;
}

/** Makes somebody a member, or changes what they are. */
export async function putMember(queryer: Queryer, namespaceId: number, userId: number, role: Role): Promise<void> {
  await queryer.query(
    `INSERT INTO namespace_members (namespace_id, user_id, role) VALUES ($1, $2, $3)
     ON CONFLICT (namespace_id, user_id) DO UPDATE SET role = excluded.role`,
    [namespaceId, userId, role],
  );
}
