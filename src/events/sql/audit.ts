/** Rows of the audit log. */
import type { Queryer } from '../../database/pool.ts';

export interface NewAuditRow {
  readonly credentialId: number | null;
  readonly userId: number | null;
  readonly actorName: string;
  readonly address: string | null;
  readonly client: string | null;
  readonly requestId: string | null;
  readonly action: string;
  readonly outcome: string;
  readonly namespaceId: number | null;
  readonly repositoryId: number | null;
  readonly target: string;
  /** JSON. */
  readonly before: string | null;
  readonly after: string | null;
  readonly reason: string | null;
  /** How long ago it happened: the database's clock is the only one that the rows are ordered by. */
  readonly ageMs: number;
}

/** Adds rows, in their order. */
export async function insertAuditRows(queryer: Queryer, rows: readonly NewAuditRow[]): Promise<void> {
  await queryer.query(
    `INSERT INTO audit_log (at, credential_id, user_id, actor_name, address, client, request_id, action, outcome,
       namespace_id, repository_id, target, before, after, reason)
     SELECT clock_timestamp() - age * interval '1 millisecond', credential_id, user_id, actor_name, address, client, request_id,
       action, outcome, namespace_id, repository_id, target, before, after, reason
     FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
       $9::bigint[], $10::bigint[], $11::text[], $12::json[], $13::json[], $14::text[], $15::float8[])
       AS row (credential_id, user_id, actor_name, address, client, request_id, action, outcome,
       namespace_id, repository_id, target, before, after, reason, age)`,
    [
      rows.map((row) => row.credentialId),
      rows.map((row) => row.userId),
      rows.map((row) => row.actorName),
      rows.map((row) => row.address),
      rows.map((row) => row.client),
      rows.map((row) => row.requestId),
      rows.map((row) => row.action),
      rows.map((row) => row.outcome),
      rows.map((row) => row.namespaceId),
      rows.map((row) => row.repositoryId),
      rows.map((row) => row.target),
      rows.map((row) => row.before),
      rows.map((row) => row.after),
      rows.map((row) => row.reason),
      rows.map((row) => row.ageMs),
    ],
  );
}

/** Deletes the oldest rows that are older than so many days. @returns how many; fewer than `limit` when no more are there */
export async function deleteExpiredAuditRows(queryer: Queryer, days: number, limit: number): Promise<number> {
  const rows = await queryer.query<{ expired: number }>('SELECT berth_expire_audit($1, $2) AS expired', [days, limit]);
  return rows[0]!.expired;
}
