/**
 * Jobs of processes that died in the middle of them. By itself the queue gives such a job to somebody else after four hours, in
 * which nobody gets their mail. So a runner holds an advisory lock for as long as it lives, on the connection over which it
 * listens: however its process ends, PostgreSQL lets go of it, and the others can see that.
 */

/** A connection of `pg`, or a pool of them. */
export interface Asked {
  query<Row extends object>(text: string, values: unknown[]): Promise<{ readonly rows: Row[] }>;
}

/** 'jobs' in ASCII; the second key of the lock is the runner's name, hashed. Two of one hash only hide each other's death. */
const lockSpace = 0x6a6f6273;
/** For runners of other versions, which hold no lock, and for those whose connection broke and is opened again. */
const graceSeconds = 60;

/** Shared, so that a hash that two have keeps neither from starting. */
export async function markAlive(listening: Asked, runner: string): Promise<void> {
  await listening.query('SELECT pg_advisory_lock_shared($1, hashtext($2))', [lockSpace, runner]);
}

/** Puts their jobs back into the queue. Names are never used twice, so any number of processes may do so at once. @returns how many died */
export async function freeJobsOfDeadRunners(pool: Asked, schema: string): Promise<number> {
  const { rows } = await pool.query<{ name: string }>(
    `SELECT name FROM (
       SELECT DISTINCT locked_by AS name FROM ${schema}.jobs WHERE locked_at < now() - make_interval(secs => $2)
     ) runner
     WHERE pg_try_advisory_xact_lock($1, hashtext(name))`,
    [lockSpace, graceSeconds],
  );
  if (rows.length > 0) await pool.query(`SELECT ${schema}.force_unlock_workers($1)`, [rows.map(({ name }) => name)]);
  return rows.length;
}
