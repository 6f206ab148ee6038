/**
 * Brings the schema to what this Berth knows: the numbered SQL files of `migrations/`, forward only. All pending ones
 * run in one transaction, so that a failed one leaves the database as the older Berth had it. A schema that is newer already
 * is taken as it is, where it says that this Berth can live with it: so processes are replaced one by one.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type pg from 'pg';
import { withClient } from './client.ts';
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
}

const ownMigrations = path.join(import.meta.dirname, '..', '..', 'migrations');
const table = 'schema_migrations';
/** Of one row: with which migration the oldest Berth came that may run here (migrations/0012). */
const minimumTable = 'schema_minimum';
/** 'bert' and 'migr' in ASCII: whoever migrates a database of Berth's holds this advisory lock. */
const lockKeys = [0x62657274, 0x6d696772];
const clientName = 'berth migrate';

/**
 * Runs what is pending. Waits while another process does the same, so that any number may start at once.
 * @returns the names of the migrations that ran, oldest first
 * @throws DatabaseNewerError, DatabaseUnavailableError, MigrationError
 */
export async function migrate(connection: Connection, options: MigrateOptions): Promise<string[]> {
  const { log, migrationsDir = ownMigrations, signal } = options;
  return withClient(connection, { name: clientName, signal }, async (client) => {
    // Ended with the session, also when this process dies.
    await client.query('SELECT pg_advisory_lock($1, $2)', lockKeys);
    const { pending, newer } = await findPending(client, migrationsDir);
    if (newer !== undefined)
      log(`the database was migrated by a newer Berth (it has ${newer}), which lets this one go on beside it`);
    if (pending.length === 0) return [];
    // Its loading takes longer than all that an ordinary start has to do here.
    const { runner } = await import('node-pg-migrate');
    const told: string[] = [];
    const tell = (line: string): void => {
      told.push(line);
      log(line);
    };
    try {
      const ran = await runner({
        dbClient: client,
        dir: migrationsDir,
        migrationsTable: table,
        direction: 'up',
        singleTransaction: true,
        // Ours is held, and guards the look at what is pending as well.
        noLock: true,
        logger: { debug: () => {}, info: () => {}, warn: () => {}, error: tell },
      });
      for (const { name } of ran) log(`migrated the database: ${name}`);
      return ran.map(({ name }) => name);
    } catch (error) {
      signal?.throwIfAborted();
      throw new MigrationError(
        `the database could not be migrated, nothing was changed: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    }
  });
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
