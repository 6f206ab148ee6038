/** Answers that are kept for whoever sends the same request again. */
import type { Queryer } from '../../database/pool.ts';

export interface IdempotencyRowKey {
  readonly credentialId: number;
  readonly operation: string;
  readonly keyHash: Buffer;
}

const keptHours = 24;

/**
 * Claims a key. Waits while another transaction holds the same claim. Of a key whose answer has expired the row is taken
 * over. False when somebody's answer stands there; the row is then locked until the transaction ends.
 */
export async function claimKey(queryer: Queryer, key: IdempotencyRowKey, fingerprint: Buffer): Promise<boolean> {
  const rows = await queryer.query(
    `INSERT INTO idempotency_keys AS k (credential_id, operation, key_hash, fingerprint, expires_at)
     VALUES ($1, $2, $3, $4, now() + ${keptHours} * interval '1 hour')
     ON CONFLICT (credential_id, operation, key_hash) DO UPDATE
       SET fingerprint = excluded.fingerprint, answer = NULL, expires_at = excluded.expires_at
       WHERE k.expires_at <= now()
     RETURNING 1`,
    [key.credentialId, key.operation, key.keyHash, fingerprint],
  );
  return rows.length > 0;
}

export interface KeptAnswerRow {
  readonly fingerprint: Buffer;
  readonly answer: Buffer;
}

/** The answer behind a claim that failed. */
export async function findAnswer(queryer: Queryer, key: IdempotencyRowKey): Promise<KeptAnswerRow | undefined> {
  const rows = await queryer.query<KeptAnswerRow>(
    `SELECT fingerprint, answer FROM idempotency_keys
     WHERE credential_id = $1 AND operation = $2 AND key_hash = $3 AND answer IS NOT NULL`,
    [key.credentialId, key.operation, key.keyHash],
  );
  return rows[0];
}

export async function updateAnswer(queryer: Queryer, key: IdempotencyRowKey, answer: Buffer): Promise<void> {
  await queryer.query(
    'UPDATE idempotency_keys SET answer = $4 WHERE credential_id = $1 AND operation = $2 AND key_hash = $3',
    [key.credentialId, key.operation, key.keyHash, answer],
  );
}

/** @returns how many rows went, at most `limit` */
export async function deleteExpiredKeys(queryer: Queryer, limit: number): Promise<number> {
  const rows = await queryer.query(
    `DELETE FROM idempotency_keys WHERE ctid IN (
       SELECT ctid FROM idempotency_keys WHERE expires_at <= now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
     ) RETURNING 1`,
    [limit],
  );
  return rows.length;
}
