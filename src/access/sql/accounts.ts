/** Accounts and their passwords. */
import type { EmailAddress } from '../../config/email-address.ts';
import { ConstraintError, type Queryer } from '../../database/pool.ts';

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

/** An account as its owner and administrators see it. */
export interface UserRow {
  readonly id: number;
  readonly name: string;
  /** The namespace of its own name; null where that went. */
  readonly namespace_id: number | null;
  /** In lower case. */
  readonly email: EmailAddress | null;
  readonly email_verified_at: Date | null;
  readonly is_admin: boolean;
  readonly disabled_at: Date | null;
  readonly totp_enabled_at: Date | null;
  readonly created_at: Date;
}

const user = `
  SELECT u.id, u.name, (SELECT n.id FROM namespaces n WHERE n.owner_id = u.id LIMIT 1) AS namespace_id,
    u.email, u.email_verified_at, u.is_admin, u.disabled_at, u.totp_enabled_at, u.created_at
  FROM users u`;

/** What an account is found by. */
export type UserKey = { readonly id: number } | { readonly name: string } | { readonly email: EmailAddress };

function conditionOf(key: UserKey): { condition: string; value: unknown } {
  if ('id' in key) return { condition: 'u.id = $1', value: key.id };
  return 'name' in key
    ? { condition: 'u.name = $1', value: key.name }
    : { condition: 'u.email = $1', value: key.email };
}

export async function findUser(queryer: Queryer, key: UserKey): Promise<UserRow | undefined> {
  const { condition, value } = conditionOf(key);
  return (await queryer.query<UserRow>(`${user} WHERE ${condition}`, [value]))[0];
}

/** Locks an account for a change of it or of what it signs in with. */
export async function lockUser(queryer: Queryer, key: UserKey): Promise<UserRow | undefined> {
  const { condition, value } = conditionOf(key);
  const rows = await queryer.query<{ id: number }>(`SELECT u.id FROM users u WHERE ${condition} FOR NO KEY UPDATE`, [
    value,
  ]);
  // Read anew: what the lock was waited for is seen by a later statement only.
  return rows[0] === undefined ? undefined : findUser(queryer, { id: rows[0].id });
}

/** Accounts whose name or address begins so, behind `after`, in byte order of their names. */
export async function listUsers(
  queryer: Queryer,
  { search, after, limit }: { readonly search: string; readonly after: string; readonly limit: number },
): Promise<UserRow[]> {
  return queryer.query(
    `${user} WHERE u.name > $1 AND (u.name ^@ $2 OR u.email ^@ lower($2)) ORDER BY u.name LIMIT $3`,
    [after, search, limit],
  );
}

/** When something of each account was last used: a session, a token, a docker login. Passwords leave no trace. */
export async function findLastUses(queryer: Queryer, userIds: readonly number[]): Promise<Map<number, Date>> {
  const rows = await queryer.query<{ user_id: number; at: Date }>(
    `SELECT user_id, max(last_used_at) AS at FROM credentials
     WHERE user_id = ANY($1::bigint[]) AND kind <> 'password' AND last_used_at IS NOT NULL GROUP BY user_id`,
    [userIds],
  );
  return new Map(rows.map((row) => [row.user_id, row.at]));
}

/** Adds an account; undefined when the name is taken. */
export async function insertUser(queryer: Queryer, name: string, admin: boolean): Promise<number | undefined> {
  const rows = await queryer.query<{ id: number }>(
    'INSERT INTO users (name, is_admin) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING id',
    [name, admin],
  );
  return rows[0]?.id;
}

/**
 * Gives an account an address, or takes it away.
 * @returns false when another account has it: the transaction can only be rolled back then
 */
export async function updateEmail(
  queryer: Queryer,
  userId: number,
  email: EmailAddress | null,
  verified: boolean,
): Promise<boolean> {
  try {
    await queryer.query(
      `UPDATE users SET email = $2, email_verified_at = CASE WHEN $3::boolean THEN now() END, updated_at = now() WHERE id = $1`,
      [userId, email, verified && email !== null],
    );
    return true;
  } catch (error) {
    if (error instanceof ConstraintError && error.constraint === 'uq_users_email') return false;
    throw error;
  }
}

export async function updateDisabled(queryer: Queryer, userId: number, disabled: boolean): Promise<void> {
  await queryer.query(
    'UPDATE users SET disabled_at = CASE WHEN $2::boolean THEN now() END, updated_at = now() WHERE id = $1',
    [userId, disabled],
  );
}

export async function updateAdmin(queryer: Queryer, userId: number, admin: boolean): Promise<void> {
  await queryer.query('UPDATE users SET is_admin = $2, updated_at = now() WHERE id = $1', [userId, admin]);
}

/** Whether somebody else administers the registry, and can sign in to do so. The caller holds the administrators' lock. */
export async function hasOtherAdministrator(queryer: Queryer, userId: number): Promise<boolean> {
  const rows = await queryer.query(
    `SELECT 1 FROM users u JOIN credentials c ON c.user_id = u.id AND c.kind = 'password' AND c.revoked_at IS NULL
     WHERE u.is_admin AND u.disabled_at IS NULL AND u.id <> $1 LIMIT 1`,
    [userId],
  );
  return rows.length > 0;
}

/** @returns its id */
export async function insertPassword(queryer: Queryer, userId: number, secretHash: string): Promise<number> {
  const rows = await queryer.query<{ id: number }>(
    `INSERT INTO credentials (kind, user_id, secret_hash) VALUES ('password', $1, $2) RETURNING id`,
    [userId, secretHash],
  );
  return rows[0]!.id;
}

/** Whether this account is an administrator, and not disabled. */
export async function findAdministrator(queryer: Queryer, userId: number): Promise<boolean> {
  const rows = await queryer.query('SELECT 1 FROM users WHERE id = $1 AND is_admin AND disabled_at IS NULL', [userId]);
  return rows.length > 0;
}

/** The live password of an account, whether or not that is disabled. */
export async function findPasswordOf(
  queryer: Queryer,
  userId: number,
): Promise<{ readonly id: number; readonly secret_hash: string } | undefined> {
  const rows = await queryer.query<{ id: number; secret_hash: string }>(
    `SELECT id, secret_hash FROM credentials WHERE user_id = $1 AND kind = 'password' AND revoked_at IS NULL`,
    [userId],
  );
  return rows[0];
}

/** A changed password is a new row; with the old one ends every token that came from it. @returns its id */
export async function replacePassword(queryer: Queryer, userId: number, secretHash: string): Promise<number> {
  await queryer.query(
    `UPDATE credentials SET revoked_at = now() WHERE user_id = $1 AND kind = 'password' AND revoked_at IS NULL`,
    [userId],
  );
  return insertPassword(queryer, userId, secretHash);
}

/** One transaction at a time looks whether there is an administrator, or takes one away. Released with it. */
export async function lockAdministrator(queryer: Queryer): Promise<void> {
  await queryer.query(`SELECT pg_advisory_xact_lock(hashtext('berth administrator'))`);
}
