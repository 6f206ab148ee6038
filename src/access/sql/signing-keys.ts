/** The life of the keys that sign access tokens. Whoever writes here has called `lockSigningKeys` first. */
import type { Queryer } from '../../database/pool.ts';

export interface SigningKeyStateRow {
  readonly kid: string;
  readonly created_at: Date;
  readonly replaced_at: Date | null;
  readonly revoked_at: Date | null;
}

/** Newest first; few, since the old ones are forgotten. */
export async function listSigningKeys(queryer: Queryer): Promise<SigningKeyStateRow[]> {
  return queryer.query(
    'SELECT kid, created_at, replaced_at, revoked_at FROM signing_keys ORDER BY created_at DESC, kid DESC',
  );
}

/** Whether the key that signs now is as old as that. False where there is none. */
export async function isSigningKeyOlder(queryer: Queryer, days: number): Promise<boolean> {
  const rows = await queryer.query(
    `SELECT 1 FROM signing_keys
     WHERE revoked_at IS NULL AND replaced_at IS NULL AND created_at <= clock_timestamp() - make_interval(days => $1)`,
    [days],
  );
  return rows.length > 0;
}

/** False when it was revoked before; undefined when there is no such key. */
export async function revokeSigningKeyRow(queryer: Queryer, kid: string): Promise<boolean | undefined> {
  const found = await queryer.query('SELECT 1 FROM signing_keys WHERE kid = $1', [kid]);
  if (found.length === 0) return undefined;
  const rows = await queryer.query(
    `UPDATE signing_keys SET revoked_at = clock_timestamp(), replaced_at = COALESCE(replaced_at, clock_timestamp())
     WHERE kid = $1 AND revoked_at IS NULL RETURNING 1`,
    [kid],
  );
  return rows.length > 0;
}

/** Deletes the keys that were replaced so long ago. @returns their ids */
export async function deleteReplacedKeys(queryer: Queryer, olderThanSeconds: number): Promise<string[]> {
  const rows = await queryer.query<{ kid: string }>(
    'DELETE FROM signing_keys WHERE replaced_at < clock_timestamp() - make_interval(secs => $1) RETURNING kid',
    [olderThanSeconds],
  );
  return rows.map(({ kid }) => kid);
}
