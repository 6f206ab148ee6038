/** Refresh tokens and the keys that sign access tokens. */
import type { Queryer } from '../../database/pool.ts';

export interface SigningKeyRow {
  readonly kid: string;
  readonly private_key: string;
  readonly public_key: string;
}

/** The key that signs now: the one that was neither replaced nor revoked. Undefined when there is none (any more). */
export async function currentSigningKey(queryer: Queryer): Promise<SigningKeyRow | undefined> {
  const rows = await queryer.query<SigningKeyRow>(
    `SELECT kid, private_key, public_key FROM signing_keys WHERE revoked_at IS NULL AND replaced_at IS NULL
     ORDER BY created_at DESC, kid DESC LIMIT 1`,
  );
  return rows[0];
}

export async function findPublicKey(queryer: Queryer, kid: string): Promise<string | undefined> {
  const rows = await queryer.query<{ public_key: string }>('SELECT public_key FROM signing_keys WHERE kid = $1', [kid]);
  return rows[0]?.public_key;
}

/** Every key that may still verify a token, newest first. */
export async function listPublicKeys(queryer: Queryer): Promise<{ kid: string; public_key: string }[]> {
  return queryer.query('SELECT kid, public_key FROM signing_keys WHERE revoked_at IS NULL ORDER BY created_at DESC');
}

/** Adds the key that signs from now on, which replaces all others. Under `lockSigningKeys`. */
export async function insertSigningKey(queryer: Queryer, row: SigningKeyRow): Promise<void> {
  await queryer.query('UPDATE signing_keys SET replaced_at = clock_timestamp() WHERE replaced_at IS NULL');
  await queryer.query('INSERT INTO signing_keys (kid, private_key, public_key) VALUES ($1, $2, $3)', [
    row.kid,
    row.private_key,
    row.public_key,
  ]);
}

/** One process at a time makes, replaces or drops keys; all go on signing and verifying. Released with the transaction. */
export async function lockSigningKeys(queryer: Queryer): Promise<void> {
  await queryer.query('LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE');
}

export interface RefreshTokenRow {
  readonly credential_id: number;
  /** What it came from. */
  readonly root_id: number;
  readonly username: string;
}

/** A refresh token that is alive, together with the account and the credential it came from. */
export async function findRefreshToken(queryer: Queryer, secretHash: string): Promise<RefreshTokenRow | undefined> {
  const rows = await queryer.query<RefreshTokenRow>(
    `SELECT c.id AS credential_id, c.root_id, COALESCE(u.name, root.name) AS username
     FROM credentials c
     LEFT JOIN users u ON u.id = c.user_id
     JOIN credentials root ON root.id = c.root_id
     WHERE c.kind = 'refresh_token' AND c.secret_hash = $1 AND c.revoked_at IS NULL AND c.expires_at > now()
       AND root.revoked_at IS NULL AND (root.expires_at IS NULL OR root.expires_at > now()) AND u.disabled_at IS NULL`,
    [secretHash],
  );
  return rows[0];
}

export async function insertRefreshToken(
  queryer: Queryer,
  row: { userId: number | null; rootId: number; secretHash: string; ttlDays: number },
): Promise<number> {
  const rows = await queryer.query<{ id: number }>(
    `INSERT INTO credentials (kind, user_id, root_id, secret_hash, expires_at)
     VALUES ('refresh_token', $1, $2, $3, now() + make_interval(days => $4)) RETURNING id`,
    [row.userId, row.rootId, row.secretHash, row.ttlDays],
  );
  return rows[0]!.id;
}
