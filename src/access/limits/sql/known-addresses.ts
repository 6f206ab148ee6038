/** Rows of networks from which accounts signed in. Days are ISO dates. */
import type { Queryer } from '../../../database/pool.ts';

/** Whether the account of this name signed in from the network since a day, and whether it did today; undefined when not. */
export async function findKnownAddress(
  queryer: Queryer,
  username: string,
  network: string,
  days: { readonly since: string; readonly today: string },
): Promise<{ readonly seen_today: boolean } | undefined> {
  const [row] = await queryer.query<{ seen_today: boolean }>(
    `SELECT known.last_seen_on >= $4::date AS seen_today
     FROM users u JOIN known_addresses known ON known.user_id = u.id AND known.network = $2
     WHERE u.name = $1 AND known.last_seen_on >= $3::date`,
    [username, network, days.since, days.today],
  );
  return row;
}

export async function rememberAddress(queryer: Queryer, username: string, network: string, day: string): Promise<void> {
  await queryer.query(
    `INSERT INTO known_addresses (user_id, network, last_seen_on) SELECT id, $2, $3::date FROM users WHERE name = $1
     ON CONFLICT (user_id, network) DO UPDATE SET last_seen_on = excluded.last_seen_on
     WHERE known_addresses.last_seen_on < excluded.last_seen_on`,
    [username, network, day],
  );
}

/** Removes those last seen before this day. @returns how many, at most `max` */
export async function deleteStaleAddresses(queryer: Queryer, before: string, max: number): Promise<number> {
  const rows = await queryer.query(
    `DELETE FROM known_addresses WHERE (user_id, network) IN (
       SELECT user_id, network FROM known_addresses WHERE last_seen_on < $1::date
       ORDER BY last_seen_on LIMIT $2 FOR UPDATE SKIP LOCKED
     ) RETURNING user_id`,
    [before, max],
  );
  return rows.length;
}
