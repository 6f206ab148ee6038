/** Links that are mailed, or given by an administrator, and work once. */
import type { EmailAddress } from '../../config/email-address.ts';
import type { Queryer } from '../../database/pool.ts';

export type LinkPurpose = 'registration' | 'verify_email' | 'password_reset';

export interface LinkRow {
  readonly id: number;
  /** Whose address it proves; null where it was not mailed. */
  readonly email: EmailAddress | null;
  /** Null for a registration. */
  readonly user_id: number | null;
  readonly expires_at: Date;
}

export interface NewLink {
  readonly purpose: LinkPurpose;
  readonly tokenHash: string;
  readonly email: EmailAddress | null;
  readonly userId: number | null;
  readonly createdBy: number | null;
  readonly hours: number;
}

/** Whoever the links of one purpose are for: an account, or an address without one. */
const sameOwner = 'purpose = $1 AND user_id IS NOT DISTINCT FROM $2 AND ($2::bigint IS NOT NULL OR email = $3)';

/** One transaction at a time makes links for an address that has no account; for one that has, its row is locked. */
export async function lockAddress(queryer: Queryer, email: EmailAddress): Promise<void> {
  await queryer.query(`SELECT pg_advisory_xact_lock(hashtextextended('berth address ' || $1, 0))`, [email]);
}

/** Adds a link, in place of older ones of its purpose and owner. The caller holds a lock on the owner. */
export async function insertLink(queryer: Queryer, link: NewLink): Promise<Date> {
  const { purpose, userId, email } = link;
  await queryer.query(
    `UPDATE one_time_links SET expires_at = now() WHERE ${sameOwner} AND used_at IS NULL AND expires_at > now()`,
    [purpose, userId, email],
  );
  const rows = await queryer.query<{ expires_at: Date }>(
    `INSERT INTO one_time_links (purpose, user_id, email, token_hash, created_by, expires_at)
     VALUES ($1, $2, $3, $4, $5, now() + make_interval(hours => $6)) RETURNING expires_at`,
    [purpose, userId, email, link.tokenHash, link.createdBy, link.hours],
  );
  return rows[0]!.expires_at;
}

/** How many links were made for them within the last hour, used or not. */
export async function countRecentLinks(
  queryer: Queryer,
  purpose: LinkPurpose,
  { userId, email }: { readonly userId: number | null; readonly email: EmailAddress | null },
): Promise<number> {
  const rows = await queryer.query<{ count: number }>(
    `SELECT count(*) AS count FROM one_time_links WHERE ${sameOwner} AND created_at > now() - interval '1 hour'`,
    [purpose, userId, email],
  );
  return rows[0]!.count;
}

const isLive = 'used_at IS NULL AND expires_at > now()';

/** A link that still works. */
export async function findLink(
  queryer: Queryer,
  purpose: LinkPurpose,
  tokenHash: string,
): Promise<LinkRow | undefined> {
  const rows = await queryer.query<LinkRow>(
    `SELECT id, email, user_id, expires_at FROM one_time_links WHERE token_hash = $1 AND purpose = $2 AND ${isLive}`,
    [tokenHash, purpose],
  );
  return rows[0];
}

/** Uses a link up: of several at once one gets it. */
export async function claimLink(
  queryer: Queryer,
  purpose: LinkPurpose,
  tokenHash: string,
): Promise<LinkRow | undefined> {
  const rows = await queryer.query<LinkRow>(
    `UPDATE one_time_links SET used_at = now() WHERE token_hash = $1 AND purpose = $2 AND ${isLive}
     RETURNING id, email, user_id, expires_at`,
    [tokenHash, purpose],
  );
  return rows[0];
}

/** Links for an account, of these purposes, work no more. */
export async function voidLinksOf(queryer: Queryer, userId: number, purposes: readonly LinkPurpose[]): Promise<void> {
  await queryer.query(
    `UPDATE one_time_links SET expires_at = now() WHERE user_id = $1 AND purpose = ANY($2::text[]) AND ${isLive}`,
    [userId, purposes],
  );
}

/** The address that an account has asked to have, and not confirmed yet. */
export async function findPendingEmail(queryer: Queryer, userId: number): Promise<EmailAddress | undefined> {
  const rows = await queryer.query<{ email: EmailAddress }>(
    `SELECT email FROM one_time_links WHERE user_id = $1 AND purpose = 'verify_email' AND email IS NOT NULL AND ${isLive}
     ORDER BY id DESC LIMIT 1`,
    [userId],
  );
  return rows[0]?.email;
}

/** Deletes links that ended more than a day ago: by then they count for nothing. @returns how many */
export async function deleteDeadLinks(queryer: Queryer, limit: number): Promise<number> {
  const rows = await queryer.query(
    `DELETE FROM one_time_links WHERE id IN (
       SELECT id FROM one_time_links WHERE expires_at < now() - interval '1 day' ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
     ) RETURNING id`,
    [limit],
  );
  return rows.length;
}

/** Whether somebody who may do so has invited this address to an organization or a repository. */
export async function isInvited(queryer: Queryer, email: EmailAddress): Promise<boolean> {
  const rows = await queryer.query(
    `SELECT 1 FROM invitations i JOIN users inviter ON inviter.id = i.created_by AND inviter.disabled_at IS NULL
     WHERE i.invitee = $1 AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now()
       AND (inviter.is_admin OR EXISTS (
         SELECT 1 FROM granted_roles g WHERE g.user_id = inviter.id AND g.namespace_id = i.namespace_id
           AND g.repository_id IN (0, i.repository_id) AND g.role = 4))
     LIMIT 1`,
    [email],
  );
  return rows.length > 0;
}
