/** Rows of counters over fixed windows. What counts one at a time is done by rate-limiter-flexible (../windows.ts). */
import type { Queryer } from '../../../database/pool.ts';

export interface CounterRow {
  readonly key: string;
  readonly points: number;
  /** When its window is over, in milliseconds since 1970. */
  readonly expire: number;
}

/** Adds to many counters at once; a window that is over begins anew. @returns them as they are now */
export async function addPoints(queryer: Queryer, rows: readonly CounterRow[], nowMs: number): Promise<CounterRow[]> {
  // In key order, so that two processes that add to the same counters do not wait for each other.
  return queryer.query<CounterRow>(
    `INSERT INTO rate_limits AS counter (key, points, expire)
     SELECT key, points, expire FROM unnest($1::text[], $2::int[], $3::bigint[]) AS row (key, points, expire)
     ORDER BY key COLLATE "C"
     ON CONFLICT (key) DO UPDATE SET
       points = CASE WHEN counter.expire <= $4::bigint THEN excluded.points ELSE counter.points + excluded.points END,
       expire = CASE WHEN counter.expire <= $4::bigint THEN excluded.expire ELSE counter.expire END
     RETURNING key, points, expire`,
    [rows.map(({ key }) => key), rows.map(({ points }) => points), rows.map(({ expire }) => expire), nowMs],
  );
}

/** Removes counters whose window was over before this moment. @returns how many, at most `max` */
export async function deleteExpiredCounters(queryer: Queryer, beforeMs: number, max: number): Promise<number> {
  const rows = await queryer.query(
    `DELETE FROM rate_limits WHERE key IN (
       SELECT key FROM rate_limits WHERE expire < $1 ORDER BY expire LIMIT $2 FOR UPDATE SKIP LOCKED
     ) RETURNING key`,
    [beforeMs, max],
  );
  return rows.length;
}
