/** The second factor of accounts: the secret that an app shares, and recovery codes. */
import type { Queryer } from '../../database/pool.ts';

export interface TotpRow {
  /** Null when nobody has begun to set one up. */
  readonly totp_secret: string | null;
  readonly enabled: boolean;
  readonly totp_last_step: number | null;
}

export async function findTotp(queryer: Queryer, userId: number): Promise<TotpRow | undefined> {
  const rows = await queryer.query<TotpRow>(
    'SELECT totp_secret, totp_enabled_at IS NOT NULL AS enabled, totp_last_step FROM users WHERE id = $1',
    [userId],
  );
  return rows[0];
}

/** Keeps a secret that is not counted on yet. @returns false when there is a second factor already */
export async function storePendingSecret(queryer: Queryer, userId: number, secret: string): Promise<boolean> {
  const rows = await queryer.query(
    `UPDATE users SET totp_secret = $2, totp_last_step = NULL, updated_at = now()
     WHERE id = $1 AND totp_enabled_at IS NULL RETURNING id`,
    [userId, secret],
  );
  return rows.length > 0;
}

/** Counts on the secret from now on. @returns false when it is no longer the one that is waiting */
export async function enableTotp(queryer: Queryer, userId: number, secret: string, step: number): Promise<boolean> {
  const rows = await queryer.query(
    `UPDATE users SET totp_enabled_at = now(), totp_last_step = $3, updated_at = now()
     WHERE id = $1 AND totp_secret = $2 AND totp_enabled_at IS NULL RETURNING id`,
    [userId, secret, step],
  );
  return rows.length > 0;
}

/** Takes away what there is of a second factor. @returns whether there was one */
export async function clearTotp(queryer: Queryer, userId: number): Promise<boolean> {
  const before = await findTotp(queryer, userId);
  await queryer.query('DELETE FROM recovery_codes WHERE user_id = $1', [userId]);
  await queryer.query(
    'UPDATE users SET totp_secret = NULL, totp_enabled_at = NULL, totp_last_step = NULL, updated_at = now() WHERE id = $1',
    [userId],
  );
  return before?.enabled === true;
}

/** Of requests with one code one gets true: the step of a code goes up, or the code was used. */
export async function claimStep(queryer: Queryer, userId: number, secret: string, step: number): Promise<boolean> {
  const rows = await queryer.query(
    `UPDATE users SET totp_last_step = $3
     WHERE id = $1 AND totp_secret = $2 AND totp_enabled_at IS NOT NULL AND (totp_last_step IS NULL OR totp_last_step < $3)
     RETURNING id`,
    [userId, secret, step],
  );
  return rows.length > 0;
}

/** Of requests with one recovery code one gets true. */
export async function claimRecoveryCode(queryer: Queryer, userId: number, codeHash: string): Promise<boolean> {
  const rows = await queryer.query(
    'DELETE FROM recovery_codes WHERE user_id = $1 AND code_hash = $2 RETURNING user_id',
    [userId, codeHash],
  );
  return rows.length > 0;
}

export async function replaceRecoveryCodes(
  queryer: Queryer,
  userId: number,
  codeHashes: readonly string[],
): Promise<void> {
  await queryer.query('DELETE FROM recovery_codes WHERE user_id = $1', [userId]);
  await queryer.query('INSERT INTO recovery_codes (user_id, code_hash) SELECT $1, unnest($2::text[])', [
    userId,
    codeHashes,
  ]);
}

export async function countRecoveryCodes(queryer: Queryer, userId: number): Promise<number> {
  const rows = await queryer.query<{ count: number }>(
    'SELECT count(*) AS count FROM recovery_codes WHERE user_id = $1',
    [userId],
  );
  return rows[0]!.count;
}
