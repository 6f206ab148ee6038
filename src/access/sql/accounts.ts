/** Accounts and their passwords. */
import type { Queryer } from '../../database/pool.ts';

export interface PasswordRow {
  readonly credential_id: number;
  readonly user_id: number;
  readonly secret_hash: string;
  /** Whether the account has a second factor: then its password alone opens nothing. */
  readonly totp: boolean;
}

/** The live password of an enabled account. */
export async function findPassword(queryer: Queryer, username: string): Promise<PasswordRow | undefined> {
  const rows = await queryer.query<PasswordRow>(
    `SELECT c.id AS credential_id, u.id AS user_id, c.secret_hash, u.totp_enabled_at IS NOT NULL AS totp
     FROM users u JOIN credentials c ON c.user_id = u.id AND c.kind = 'password' AND c.revoked_at IS NULL
     WHERE u.name = $1 AND u.disabled_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > now())`,
    [username],
  );
  return rows[0];
}

/** Adds an account; undefined when the name is taken. */
export async function insertUser(queryer: Queryer, name: string, admin: boolean): Promise<number | undefined> {
  const rows = await queryer.query<{ id: number }>(
    'INSERT INTO users (name, is_admin) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING id',
    [name, admin],
  );
  return rows[0]?.id;
}

export async function insertPassword(queryer: Queryer, userId: number, secretHash: string): Promise<void> {
  await queryer.query(`INSERT INTO credentials (kind, user_id, secret_hash) VALUES ('password', $1, $2)`, [
    userId,
    secretHash,
  ]);
}

/** Whether this account is an administrator, and not disabled. */
export async function findAdministrator(queryer: Queryer, userId: number): Promise<boolean> {
  const rows = await queryer.query('SELECT 1 FROM users WHERE id = $1 AND is_admin AND disabled_at IS NULL', [userId]);
  return rows.length > 0;
}

/** A changed password is a new row; with the old one ends every token that came from it. */
export async function replacePassword(queryer: Queryer, userId: number, secretHash: string): Promise<void> {
  await queryer.query(
    `UPDATE credentials SET revoked_at = now() WHERE user_id = $1 AND kind = 'password' AND revoked_at IS NULL`,
    [userId],
  );
  await insertPassword(queryer, userId, secretHash);
}

/** One process at a time looks whether there is an administrator. Released with the transaction. */
export async function lockAdministrator(queryer: Queryer): Promise<void> {
  await queryer.query(`SELECT pg_advisory_xact_lock(hashtext('berth administrator'))`);
}
