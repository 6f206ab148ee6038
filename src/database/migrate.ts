/**
 * Brings the schema to what this Berth knows: the numbered SQL files of `migrations/`, forward only. All pending ones
 * run in one transaction, so that a failed one leaves the database as the older Berth had it. A schema that is newer already
 * is taken as it is, where it says that this Berth can live with it: so processes are replaced one by one.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { withClient } from './client.ts';
import { watchingLocks } from './lock-waits.ts';
import type { Connection } from './servers.ts';

/** The database has migrations that this Berth does not know, and does not let it run on them. */
export class DatabaseNewerError extends Error {
  override readonly name = 'DatabaseNewerError';
  /** The newest unknown migration. */
  readonly migration: string;
  constructor(migration: string) {
    super(`the database was migrated by a newer Berth (it has ${migration}); run that version or newer`);
    this.migration = migration;
  }
}

/** A migration failed, or could not be read; nothing was changed. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

export interface MigrateOptions {
  /** Told, line by line, which migrations run, and what went wrong in which statement. */
  readonly log: (line: string) => void;
  /** Default: the `migrations` folder of this Berth. */
  readonly migrationsDir?: string;
  /** Gives up waiting for another process that migrates, or rolls back what is under way. */
  readonly signal?: AbortSignal;
  /** Default: three seconds for a lock, ten times, five seconds apart. */
  readonly patience?: LockPatience;
}

/**
 * With locks that others hold on tables. Whoever asks for a table after a migration that waits for it waits, too, also to read,
 * which needs no such lock; so a migration gives way soon, lets everybody through, and tries again.
 */
export interface LockPatience {
  readonly lockMs: number;
  readonly pauseMs: number;
  readonly tries: number;
}

const ownMigrations = path.join(import.meta.dirname, '..', '..', 'migrations');
const table = 'schema_migrations';
/** Of one row: with which migration the oldest Berth came that may run here (migrations/0012). */
const minimumTable = 'schema_minimum';
/** 'bert' and 'migr' in ASCII: whoever migrates a database of Berth's holds this advisory lock. */
const lockKeys = [0x62657274, 0x6d696772];
const clientName = 'berth migrate';
const usualPatience: LockPatience = { lockMs: 3000, pauseMs: 5000, tries: 10 };
/** Between two looks at what a migration waits for. */
const lookMsMax = 1000;

/**
 * Runs what is pending. Waits while another process does the same, so that any number may start at once.
 * @returns the names of the migrations that ran, oldest first
 * @throws DatabaseNewerError, DatabaseUnavailableError, MigrationError
 */
export async function migrate(connection: Connection, options: MigrateOptions): Promise<string[]> {
  const { log, migrationsDir = ownMigrations, signal } = options;
  return withClient(connection, { name: clientName, signal }, async (client) => {
    // However long another process migrates, and whatever was set for the account or the database.
    await client.query('SET lock_timeout = 0');
    // Ended with the session, also when this process dies.
    await client.query('SELECT pg_advisory_lock($1, $2)', lockKeys);
    const { pending, newer } = await findPending(client, migrationsDir);
    if (newer !== undefined)
      log(`the database was migrated by a newer Berth (it has ${newer}), which lets this one go on beside it`);
    if (pending.length === 0) return [];
    try {
      const ran = await runPatiently(client, connection, { ...options, migrationsDir });
      for (const name of ran) log(`migrated the database: ${name}`);
      return ran;
    } catch (error) {
      signal?.throwIfAborted();
      throw new MigrationError(
        `the database could not be migrated, nothing was changed: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    }
  });
}

/** Tries again where others hold what a migration needs. @throws what went wrong, everything having been rolled back */
async function runPatiently(
  client: pg.Client,
  connection: Connection,
  options: MigrateOptions & { readonly migrationsDir: string },
): Promise<string[]> {
  const { log, patience = usualPatience } = options;
  const { lockMs } = patience;
  const { rows } = await client.query<{ pid: number }>(
    `SELECT pg_backend_pid() AS pid, set_config('lock_timeout', $1, false)`,
    [`${lockMs}ms`],
  );
  let reason = 'locks that others hold';
  const onWait = (found: string): void => {
    reason = found;
    log(`the migration of the database waits for ${found}`);
  };
  const watch = { connection, name: clientName, pid: rows[0]!.pid, lookMs: Math.min(lookMsMax, lockMs / 3), onWait };
  return watchingLocks(watch, () => tryAgain(client, { ...options, patience }, () => reason));
}

async function tryAgain(
  client: pg.Client,
  options: MigrateOptions & { readonly migrationsDir: string; readonly patience: LockPatience },
  reason: () => string,
): Promise<string[]> {
  const { log, migrationsDir, signal, patience } = options;
  const { lockMs, pauseMs, tries } = patience;
  for (let tried = 1; ; tried += 1) {
    const told: string[] = [];
    try {
      return await run(client, migrationsDir, told);
    } catch (error) {
      if (!isHeldUp(error)) {
        for (const line of told) log(line);
        throw error;
      }
      if (tried === tries)
        throw new Error(
          `it needs ${reason()}, and could not have it ${tries} times for ${lockMs / 1000} seconds; end that session (SELECT pg_terminate_backend(PID)) or let it finish, then start again`,
          { cause: error },
        );
      log(`the migration of the database gives way and is tried again in ${pauseMs / 1000} seconds`);
    }
    await delay(pauseMs, undefined, { signal });
  }
}

/** @param told gets, line by line, what went wrong in which statement */
async function run(client: pg.Client, migrationsDir: string, told: string[]): Promise<string[]> {
  // Its loading takes longer than all that an ordinary start has to do here.
  const { runner } = await import('node-pg-migrate');
  const ran = await runner({
    dbClient: client,
    dir: migrationsDir,
    migrationsTable: table,
    direction: 'up',
    singleTransaction: true,
    // Ours is held, and guards the look at what is pending as well.
    noLock: true,
    logger: { debug: () => {}, info: () => {}, warn: () => {}, error: (line: string) => void told.push(line) },
  });
  return ran.map(({ name }) => name);
}

/** Whether a lock was not to be had in time, or only by a transaction that waited for one of this. */
function isHeldUp(error: unknown): boolean {
  return error instanceof pg.DatabaseError && (error.code === '55P03' || error.code === '40P01');
}

/**
 * The migrations that `migrate` would run, oldest first. Changes nothing.
 * @throws DatabaseNewerError, DatabaseUnavailableError
 */
export async function pendingMigrations(
  connection: Connection,
  options: Pick<MigrateOptions, 'migrationsDir' | 'signal'> = {},
): Promise<string[]> {
  return withClient(connection, { name: clientName, signal: options.signal }, async (client) => {
    const { pending } = await findPending(client, options.migrationsDir ?? ownMigrations);
    return pending;
  });
}

interface Found {
  readonly pending: string[];
  /** The newest migration that this Berth does not know and can live with. */
  readonly newer: string | undefined;
}

async function findPending(client: pg.Client, migrationsDir: string): Promise<Found> {
  const files = await readdir(migrationsDir).catch((error: unknown) => {
    throw new MigrationError(`the migrations in ${migrationsDir} cannot be read`, { cause: error });
  });
  const known = files
    .filter((name) => name.endsWith('.sql'))
    .map((name) => name.slice(0, -'.sql'.length))
    .toSorted();
  if (!(await isThere(client, table))) return { pending: known, newer: undefined };
  const { rows } = await client.query<{ name: string }>(`SELECT name FROM ${table} ORDER BY id`);
  const applied = new Set(rows.map(({ name }) => name));
  const pending = known.filter((name) => !applied.has(name));
  const newer = [...applied].filter((name) => !known.includes(name)).at(-1);
  // What is pending here and was passed over there comes from another line of versions.
  if (newer !== undefined && (pending.length > 0 || !(await lets(client, known.at(-1)))))
    throw new DatabaseNewerError(newer);
  return { pending, newer };
}

/** Whether the schema lets a Berth run whose newest migration this is. One that says nothing lets nobody. */
async function lets(client: pg.Client, newest: string | undefined): Promise<boolean> {
  if (newest === undefined || !(await isThere(client, minimumTable))) return false;
  const { rows } = await client.query<{ migration: string }>(`SELECT migration FROM ${minimumTable}`);
  return rows.length === 1 && newest >= rows[0]!.migration;
}

async function isThere(client: pg.Client, name: string): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>('SELECT to_regclass($1) IS NOT NULL AS there', [name]);
  return rows[0]!.there;
}
