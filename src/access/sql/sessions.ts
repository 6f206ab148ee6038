/** Sessions: what a browser or a program gets for a name and a password. */
import type { Queryer } from '../../database/pool.ts';

export interface SessionRow {
  readonly id: number;
  readonly created_at: Date;
  readonly expires_at: Date;
  readonly last_used_at: Date;
  /** From where and by what it was last used. */
  readonly last_used_address: string | null;
  readonly last_used_client: string | null;
}

export interface NewSession {
  readonly userId: number;
  /** The password that was signed in with: a changed one ends the session. */
  readonly rootId: number;
  readonly secretHash: string;
  readonly ttlHours: number;
  readonly address: string | null;
  readonly client: string | null;
}

export async function insertSession(
  queryer: Queryer,
  { userId, rootId, secretHash, ttlHours, address, client }: NewSession,
): Promise<{ readonly id: number; readonly expires_at: Date }> {
  const rows = await queryer.query<{ id: number; expires_at: Date }>(
    `INSERT INTO credentials (kind, user_id, root_id, secret_hash, expires_at, last_used_at, last_used_address, last_used_client)
     VALUES ('session', $1, $2, $3, now() + make_interval(hours => $4), now(), $5, $6) RETURNING id, expires_at`,
    [userId, rootId, secretHash, ttlHours, address, client],
  );
  return rows[0]!;
}

const isLive = `c.kind = 'session' AND c.revoked_at IS NULL AND c.expires_at > now()
  AND EXISTS (SELECT 1 FROM credentials root WHERE root.id = c.root_id AND root.revoked_at IS NULL)`;

/** Live sessions of an account, the newest first. @param before the id behind which they begin; null for the first ones */
export async function listSessions(
  queryer: Queryer,
  userId: number,
  before: number | null,
  limit: number,
): Promise<SessionRow[]> {
  return queryer.query(
    `SELECT c.id, c.created_at, c.expires_at, c.last_used_at, c.last_used_address, c.last_used_client
     FROM credentials c WHERE c.user_id = $1 AND ${isLive} AND ($2::bigint IS NULL OR c.id < $2) ORDER BY c.id DESC LIMIT $3`,
    [userId, before, limit],
  );
}

/** When a session ends by itself; undefined when it has ended. */
export async function findSessionEnd(queryer: Queryer, id: number): Promise<Date | undefined> {
  const rows = await queryer.query<{ expires_at: Date }>(
    `SELECT c.expires_at FROM credentials c WHERE c.id = $1 AND ${isLive}`,
    [id],
  );
  return rows[0]?.expires_at;
}

/** Ends a session of this account. @returns false when it has none of this id that is alive */
export async function revokeSession(queryer: Queryer, userId: number, id: number): Promise<boolean> {
  const rows = await queryer.query(
    `UPDATE credentials c SET revoked_at = now() WHERE c.id = $1 AND c.user_id = $2 AND ${isLive} RETURNING c.id`,
    [id, userId],
  );
  return rows.length > 0;
}

/**
 * Ends the sessions and refresh tokens of an account, in key order, as everywhere.
 * @param of `password`: only those that came from a password, and not what came from a personal access token
 * @returns how many of each were alive
 */
export async function revokeSignIns(
  queryer: Queryer,
  userId: number,
  of: 'password' | 'all',
): Promise<{ readonly sessions: number; readonly refreshTokens: number }> {
  const rows = await queryer.query<{ kind: string; count: number }>(
    `WITH locked AS (
       SELECT c.id FROM credentials c JOIN credentials root ON root.id = c.root_id
       WHERE c.user_id = $1 AND c.kind IN ('session', 'refresh_token') AND c.revoked_at IS NULL AND c.expires_at > now()
         AND (root.kind = 'password' OR $2::boolean)
       ORDER BY c.id FOR NO KEY UPDATE OF c
     ), revoked AS (
       UPDATE credentials c SET revoked_at = now() FROM locked WHERE c.id = locked.id RETURNING c.kind
     )
     SELECT kind, count(*) AS count FROM revoked GROUP BY kind`,
    [userId, of === 'all'],
  );
  const countOf = (kind: string): number => rows.find((row) => row.kind === kind)?.count ?? 0;
  return { sessions: countOf('session'), refreshTokens: countOf('refresh_token') };
}

/** Deletes sessions that ended by themselves more than a day ago and that nothing names. @returns how many */
export async function deleteDeadSessions(queryer: Queryer, limit: number): Promise<number> {
  const rows = await queryer.query(
    `DELETE FROM credentials WHERE id IN (
       SELECT c.id FROM credentials c WHERE c.kind = 'session' AND c.expires_at < now() - interval '1 day'
         AND NOT EXISTS (SELECT 1 FROM tag_history t WHERE t.credential_id = c.id)
         AND NOT EXISTS (SELECT 1 FROM uploads u WHERE u.credential_id = c.id)
       ORDER BY c.expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
     ) RETURNING id`,
    [limit],
  );
  return rows.length;
}
