/** Credentials that are random secrets: personal access tokens, robots, sessions. */
import type { Queryer } from '../../database/pool.ts';
import type { CredentialKind } from '../policy.ts';

export interface SecretRow {
  readonly credential_id: number;
  readonly kind: CredentialKind;
  /** The account's name, or the robot's. */
  readonly login: string;
}

/** Whose secret this is, dead or alive: whether it still counts is asked with what it is used for. */
export async function findSecret(queryer: Queryer, secretHash: string): Promise<SecretRow | undefined> {
  const rows = await queryer.query<SecretRow>(
    `SELECT c.id AS credential_id, c.kind, COALESCE(u.name, c.name) AS login
     FROM credentials c LEFT JOIN users u ON u.id = c.user_id
     WHERE c.secret_hash = $1 AND c.kind IN ('refresh_token', 'session', 'token', 'robot')`,
    [secretHash],
  );
  return rows[0];
}

export interface LastUseRow {
  readonly credentialId: number;
  readonly usedAt: Date;
  readonly address: string | null;
  readonly client: string | null;
}

/** In key order, as everywhere: two processes may write the same ones. An older use never overwrites a newer one. */
export async function updateLastUse(queryer: Queryer, rows: readonly LastUseRow[]): Promise<void> {
  const sorted = rows.toSorted((a, b) => a.credentialId - b.credentialId);
  await queryer.query(
    `WITH used AS (
       SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[]) AS used (id, at, address, client)
     ), locked AS (
       SELECT c.id FROM credentials c JOIN used ON used.id = c.id ORDER BY c.id FOR NO KEY UPDATE OF c
     )
     UPDATE credentials c SET last_used_at = used.at, last_used_address = used.address, last_used_client = used.client
     FROM used JOIN locked ON locked.id = used.id
     WHERE c.id = used.id AND (c.last_used_at IS NULL OR c.last_used_at < used.at)`,
    [
      sorted.map((row) => row.credentialId),
      sorted.map((row) => row.usedAt),
      sorted.map((row) => row.address),
      sorted.map((row) => row.client),
    ],
  );
}

/** What a credential may do at the management API; null when it has no such limit. A set is never changed. */
export async function findApiScopes(queryer: Queryer, credentialId: number): Promise<string[] | null> {
  const rows = await queryer.query<{ api_scopes: string[] | null }>(
    'SELECT api_scopes FROM credentials WHERE id = $1',
    [credentialId],
  );
  return rows[0]?.api_scopes ?? null;
}
