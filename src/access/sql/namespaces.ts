/** Namespaces: the first component of repository names, a person's or an organization's. */
import type { Queryer } from '../../database/pool.ts';
import type { Subject } from '../policy.ts';
import type { Role } from '../roles.ts';
import { coveredBy, coveredNames } from './readable.ts';

export type NamespaceKind = 'user' | 'organization' | 'system';

export interface NamespaceRow {
  readonly id: number;
  readonly name: string;
  readonly kind: NamespaceKind;
  readonly description: string;
  readonly createdAt: Date;
  /** What the account that asked is in all of it, by itself or by a team; null when it has no such role. */
  readonly role: Role | null;
}

/** @returns undefined when the name is taken */
export async function insertNamespace(
  queryer: Queryer,
  name: string,
  kind: NamespaceKind,
  ownerId: number | null,
  description = '',
): Promise<number | undefined> {
  const rows = await queryer.query<{ id: number }>(
    `INSERT INTO namespaces (name, kind, owner_id, description) VALUES ($1, $2, $3, $4)
     ON CONFLICT (name) DO NOTHING RETURNING id`,
    [name, kind, ownerId, description],
  );
  return rows[0]?.id;
}

const columns = 'n.id, n.name, n.kind, n.description, n.created_at AS "createdAt"';

/**
 * A namespace, and whether the account has any role in it, or there is a repository in it that everybody (who is signed in)
 * may pull. Public and internal ones are looked for by their names along an index that has no private ones: neither the cost
 * nor the time says how many of those there are.
 */
export async function findNamespaceRow(
  queryer: Queryer,
  name: string,
  subject: Subject | null,
): Promise<(NamespaceRow & { readonly visible: boolean }) | undefined> {
  const seen = (visibility: string): string => `EXISTS (
    SELECT 1 FROM repositories r
    WHERE r.visibility = '${visibility}' AND r.name > names.first AND r.name < names.last AND r.namespace_id = n.id
      AND ${visibility === 'public' ? 'true' : coveredBy('$4')})`;
  const rows = await queryer.query<NamespaceRow & { visible: boolean }>(
    `SELECT ${columns},
       (SELECT g.role FROM granted_roles g WHERE g.user_id = $2 AND g.namespace_id = n.id AND g.repository_id = 0) AS role,
       EXISTS (SELECT 1 FROM granted_roles g WHERE g.user_id = $2 AND g.namespace_id = n.id)
         OR ${seen('public')} OR ($3::boolean AND ${seen('internal')}) AS visible
     FROM namespaces n
     -- Behind the slash comes the zero, and no name begins with a brace.
     CROSS JOIN LATERAL (
       SELECT CASE n.kind WHEN 'system' THEN '' ELSE n.name || '/' END AS first,
         CASE n.kind WHEN 'system' THEN '{' ELSE n.name || '0' END AS last
     ) names
     WHERE n.name = $1`,
    [
      name,
      subject?.user?.id ?? null,
      subject !== null && subject.kind !== 'anonymous',
      subject === null ? null : coveredNames(subject),
    ],
  );
  return rows[0];
}

/** The namespaces that an account is in, or that a robot belongs to, behind `after`, in byte order of their names. */
export async function listNamespaceRows(
  queryer: Queryer,
  subject: Subject,
  after: string,
  limit: number,
): Promise<NamespaceRow[]> {
  const userId = subject.user?.id ?? null;
  const robotOf = subject.robot?.repositoryId === null ? subject.robot.namespaceId : null;
  return queryer.query<NamespaceRow>(
    `SELECT ${columns}, mine.role
     FROM (
       SELECT namespace_id, role FROM granted_roles WHERE user_id = $1 AND repository_id = 0
       UNION ALL SELECT $2::bigint, 4 WHERE $2 IS NOT NULL
     ) mine JOIN namespaces n ON n.id = mine.namespace_id
     WHERE n.name > $3 ORDER BY n.name LIMIT $4`,
    [userId, robotOf, after, limit],
  );
}

export async function updateDescription(queryer: Queryer, namespaceId: number, description: string): Promise<void> {
  await queryer.query('UPDATE namespaces SET description = $2, updated_at = now() WHERE id = $1', [
    namespaceId,
    description,
  ]);
}

/** Whether a subject is something in all of a namespace, and so knows its teams. */
export async function isInNamespace(queryer: Queryer, namespaceId: number, subject: Subject): Promise<boolean> {
  if (subject.robot !== null) return subject.robot.namespaceId === namespaceId && subject.robot.repositoryId === null;
  const rows = await queryer.query(
    'SELECT 1 FROM granted_roles WHERE user_id = $1 AND namespace_id = $2 AND repository_id = 0',
    [subject.user?.id ?? null, namespaceId],
  );
  return rows.length > 0;
}
