/** Invitations to organizations and to single repositories. */
import type { Queryer } from '../../database/pool.ts';
import type { RepositoryName } from '../../oci/reference.ts';
import type { Role } from '../roles.ts';

export interface InvitationRow {
  readonly id: number;
  readonly namespaceId: number;
  readonly namespace: string;
  /** Null for the whole organization. */
  readonly repositoryId: number | null;
  readonly repository: RepositoryName | null;
  readonly role: Role;
  /** As it was typed: an account's name, or an address in lower case. */
  readonly invitee: string;
  readonly invitedBy: string;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  /** Whether whoever invited might still do so: an invitation is worth no more than its inviter's right. */
  readonly holds: boolean;
}

const open = 'i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now()';

const holds = `EXISTS (
  SELECT 1 FROM users s WHERE s.id = i.created_by AND s.disabled_at IS NULL AND (s.is_admin OR EXISTS (
    SELECT 1 FROM granted_roles g
    WHERE g.user_id = s.id AND g.namespace_id = i.namespace_id AND g.repository_id IN (0, i.repository_id) AND g.role = 4)))`;

const selectOpen = `
  SELECT ${holds} AS holds, i.id, i.namespace_id AS "namespaceId", n.name AS namespace, i.repository_id AS "repositoryId", r.name AS repository,
    i.role, i.invitee, u.name AS "invitedBy", i.created_at AS "createdAt", i.expires_at AS "expiresAt"
  FROM invitations i JOIN namespaces n ON n.id = i.namespace_id JOIN users u ON u.id = i.created_by
  LEFT JOIN repositories r ON r.id = i.repository_id
  WHERE ${open}`;

/** Where somebody is invited to. */
export interface InvitationPlace {
  readonly namespaceId: number;
  /** Null: the whole organization. */
  readonly repositoryId: number | null;
}

export interface NewInvitation extends InvitationPlace {
  readonly role: Role;
  readonly invitee: string;
  readonly tokenHash: string | null;
  readonly createdBy: number;
  readonly days: number;
}

/**
 * Adds an invitation, bound to the account of this name, if there is one at this moment: the statement is the same either
 * way. The caller has locked the namespace.
 * @returns undefined when the same one is open already
 */
export async function insertInvitation(queryer: Queryer, row: NewInvitation): Promise<InvitationRow | undefined> {
  const of = [row.namespaceId, row.repositoryId, row.invitee];
  await queryer.query(
    `UPDATE invitations SET revoked_at = now()
     WHERE namespace_id = $1 AND COALESCE(repository_id, 0) = COALESCE($2, 0) AND invitee = $3
       AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at <= now()`,
    of,
  );
  const rows = await queryer.query<{ id: number }>(
    `INSERT INTO invitations (namespace_id, repository_id, invitee, role, user_id, token_hash, created_by, expires_at)
     SELECT $1, $2, $3, $4, (SELECT id FROM users WHERE name = $3), $5, $6, now() + make_interval(days => $7)
     ON CONFLICT (namespace_id, COALESCE(repository_id, 0), invitee) WHERE accepted_at IS NULL AND revoked_at IS NULL
       DO NOTHING RETURNING id`,
    [...of, row.role, row.tokenHash, row.createdBy, row.days],
  );
  if (rows[0] === undefined) return undefined;
  return (await queryer.query<InvitationRow>(`${selectOpen} AND i.id = $1`, [rows[0].id]))[0];
}

/** How many invitations are open or younger than a day: of this namespace, and by this account. */
export async function countInvitations(
  queryer: Queryer,
  namespaceId: number,
  userId: number,
): Promise<{ ofNamespace: number; byAccount: number }> {
  const counted = `created_at > now() - interval '1 day' OR (${open})`;
  const rows = await queryer.query<{ ofNamespace: number; byAccount: number }>(
    `SELECT (SELECT count(*) FROM invitations i WHERE namespace_id = $1 AND (${counted})) AS "ofNamespace",
       (SELECT count(*) FROM invitations i WHERE created_by = $2 AND (${counted})) AS "byAccount"`,
    [namespaceId, userId],
  );
  return rows[0]!;
}

/** Open invitations of a namespace and its repositories, or of one of them, behind `after`, oldest first. */
export async function listInvitations(
  queryer: Queryer,
  { namespaceId, repositoryId }: InvitationPlace,
  after: number,
  limit: number,
): Promise<InvitationRow[]> {
  return queryer.query<InvitationRow>(
    `${selectOpen} AND i.namespace_id = $1 AND ($2::bigint IS NULL OR i.repository_id = $2) AND i.id > $3
     ORDER BY i.id LIMIT $4`,
    [namespaceId, repositoryId, after, limit],
  );
}

/** Invitations that an account could accept, behind `after`, oldest first. */
export async function listInvitationsFor(
  queryer: Queryer,
  userId: number,
  after: number,
  limit: number,
): Promise<InvitationRow[]> {
  return queryer.query<InvitationRow>(
    `${selectOpen} AND ${holds} AND i.user_id = $1 AND i.id > $2 ORDER BY i.id LIMIT $3`,
    [userId, after, limit],
  );
}

/** By its id in a namespace, by its id for an account, or by what its link holds. */
export type InvitationKey =
  | { readonly id: number; readonly namespaceId: number }
  | { readonly id: number; readonly userId: number }
  | { readonly tokenHash: string };

function conditionOf(key: InvitationKey): { condition: string; values: unknown[] } {
  if ('tokenHash' in key) return { condition: 'i.token_hash = $1', values: [key.tokenHash] };
  if ('userId' in key) return { condition: 'i.id = $1 AND i.user_id = $2', values: [key.id, key.userId] };
  return { condition: 'i.id = $1 AND i.namespace_id = $2', values: [key.id, key.namespaceId] };
}

/** An open invitation. */
export async function findInvitation(queryer: Queryer, key: InvitationKey): Promise<InvitationRow | undefined> {
  const { condition, values } = conditionOf(key);
  return (await queryer.query<InvitationRow>(`${selectOpen} AND ${condition}`, values))[0];
}

/** Ends an open invitation, whose namespace the caller has locked. */
export async function closeInvitation(queryer: Queryer, id: number, how: 'accepted' | 'revoked'): Promise<void> {
  await queryer.query(`UPDATE invitations SET ${how}_at = now() WHERE id = $1`, [id]);
}
