/** What a connection waits for, and who keeps it waiting: told to whoever runs the database, who alone can do something about it. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { withClient } from './client.ts';
import type { Connection } from './servers.ts';

export interface Watch {
  readonly connection: Connection;
  /** As it stands in pg_stat_activity. */
  readonly name: string;
  /** The server process of the connection that is watched. */
  readonly pid: number;
  /** Between two looks; a shorter wait is not seen. */
  readonly lookMs: number;
  /** Told once of each new reason to wait, as the end of a sentence that begins with "it waits for". */
  readonly onWait: (reason: string) => void;
}

/** Does the work and looks, over a connection of its own, whether it has to wait for a lock. */
export async function watchingLocks<T>(watch: Watch, work: () => Promise<T>): Promise<T> {
  const over = new AbortController();
  // To see nothing is no failure of the work.
  const watched = look(watch, over.signal).catch(() => undefined);
  try {
    return await work();
  } finally {
    over.abort();
    await watched;
  }
}

async function look({ connection, name, pid, lookMs, onWait }: Watch, signal: AbortSignal): Promise<void> {
  let told: string | undefined;
  // Most work is over before anybody needs to look.
  await delay(lookMs, undefined, { signal });
  await withClient(connection, { name, signal }, async (client) => {
    for (;;) {
      const reason = await findReason(client, pid);
      if (reason !== undefined && reason !== told) onWait((told = reason));
      await delay(lookMs, undefined, { signal });
    }
  });
}

interface HolderRow {
  /** 0 for a transaction that was prepared for a commit in two phases. */
  readonly pid: number;
  readonly name: string | null;
  readonly address: string | null;
  /** Null, as the name and the address are, where this account may not know. */
  readonly state: string | null;
}

async function findReason(client: pg.Client, pid: number): Promise<string | undefined> {
  const { rows: holders } = await client.query<HolderRow>(
    `SELECT DISTINCT holder.pid, nullif(application_name, '') AS name, host(client_addr) AS address, state
     FROM unnest(pg_blocking_pids($1)) holder (pid) LEFT JOIN pg_stat_activity USING (pid) ORDER BY holder.pid`,
    [pid],
  );
  if (holders.length === 0) return undefined;
  const { rows } = await client.query<{ locked: string }>(
    `SELECT coalesce(relation::regclass::text, locktype) AS locked FROM pg_locks WHERE pid = $1 AND NOT granted`,
    [pid],
  );
  return `a lock on ${rows[0]?.locked ?? 'something'}, which is held by ${holders.map(describe).join(' and ')}`;
}

/** Without its statement, which may carry what belongs into no log. */
function describe({ pid, name, address, state }: HolderRow): string {
  if (pid === 0) return 'a prepared transaction (see pg_prepared_xacts)';
  const known = [name, address === null ? null : `from ${address}`, state].filter((word) => word !== null);
  return `session ${pid}${known.length === 0 ? '' : ` (${known.join(', ')})`}`;
}
