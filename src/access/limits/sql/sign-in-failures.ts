/** Rows of failed sign-ins that several processes count together. */
import type { Queryer } from '../../../database/pool.ts';

export interface ReservedRow {
  readonly key: string;
  /** When the next attempt may be made, in milliseconds since 1970. */
  readonly free_at: number;
  /** Whether this attempt was let through and counted. */
  readonly counted: boolean;
}

export interface Delays {
  readonly firstMs: number;
  readonly maxMs: number;
  readonly forgetMs: number;
}

/**
 * Counts an attempt under each key whose delay is over, as if it had failed already; each row decides for itself. The delay
 * doubles with each failure beyond the free ones.
 */
export async function reserveAttempt(
  queryer: Queryer,
  keys: readonly { readonly key: string; readonly free: number }[],
  attempt: string,
  nowMs: number,
  { firstMs, maxMs, forgetMs }: Delays,
): Promise<ReservedRow[]> {
  // In key order, here and below, so that two attempts under the same keys do not wait for each other.
  return queryer.query<ReservedRow>(
    `INSERT INTO sign_in_failures AS f (key, excess, free_at, forget_at, attempt)
     SELECT key, 1 - free, 0, $4::bigint + $7::bigint, $3::uuid FROM unnest($1::text[], $2::int[]) AS asked (key, free)
     ORDER BY key COLLATE "C"
     ON CONFLICT (key) DO UPDATE SET
       excess = CASE WHEN f.free_at > $4 THEN f.excess WHEN f.forget_at <= $4 THEN excluded.excess ELSE f.excess + 1 END,
       free_at = CASE
         WHEN f.free_at > $4 THEN f.free_at
         WHEN f.forget_at <= $4 OR f.excess < 0 THEN 0
         ELSE $4 + least($6::bigint, ($5::bigint * 2 ^ least(f.excess, 30))::bigint)
       END,
       forget_at = CASE WHEN f.free_at > $4 THEN f.forget_at ELSE excluded.forget_at END,
       attempt = CASE WHEN f.free_at > $4 THEN f.attempt ELSE excluded.attempt END
     RETURNING key, free_at, attempt = $3::uuid AS counted`,
    [keys.map(({ key }) => key), keys.map(({ free }) => free), attempt, nowMs, firstMs, maxMs, forgetMs],
  );
}

/** Takes a counted attempt back, and its delay if nobody came after it. What is `cleared` is forgotten altogether. */
export async function giveBackAttempt(
  queryer: Queryer,
  keys: readonly string[],
  attempt: string,
  cleared: string | null,
): Promise<void> {
  await queryer.query(
    `WITH held AS (SELECT key FROM sign_in_failures WHERE key = ANY ($1::text[]) ORDER BY key FOR UPDATE)
     UPDATE sign_in_failures AS f SET
       excess = f.excess - 1,
       free_at = CASE WHEN f.attempt = $2::uuid OR f.key = $3 THEN 0 ELSE f.free_at END,
       forget_at = CASE WHEN f.key = $3 THEN 0 ELSE f.forget_at END
     FROM held WHERE f.key = held.key`,
    [keys, attempt, cleared],
  );
}

/** Removes what is forgotten. @returns how many rows, at most `max` */
export async function deleteForgottenFailures(queryer: Queryer, nowMs: number, max: number): Promise<number> {
  const rows = await queryer.query(
    `DELETE FROM sign_in_failures WHERE key IN (
       SELECT key FROM sign_in_failures WHERE forget_at < $1 ORDER BY forget_at LIMIT $2 FOR UPDATE SKIP LOCKED
     ) RETURNING key`,
    [nowMs, max],
  );
  return rows.length;
}
