import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { DatabaseNewerError, MigrationError, migrate, pendingMigrations, type LockPatience } from './migrate.ts';
import { DatabaseUnavailableError } from './pool.ts';

let database: TestDatabase;
let migrationsDir: string;
const eventually = { timeout: 20_000 };
const log: string[] = [];
const run = (): Promise<string[]> => migrate(database.connection, { log: (line) => log.push(line), migrationsDir });

beforeEach(async () => {
  log.length = 0;
  database = await createTestDatabase({ migrated: false });
  migrationsDir = await mkdtemp(path.join(tmpdir(), 'berth-migrations-'));
});
afterEach(async () => {
  await database.drop();
  await rm(migrationsDir, { recursive: true });
});

function write(name: string, sql: string): Promise<void> {
  return writeFile(path.join(migrationsDir, `${name}.sql`), sql);
}

const select = (statement: string): Promise<unknown[]> => inDatabase(database, statement);

async function inDatabase({ connection }: TestDatabase, statement: string): Promise<unknown[]> {
  const client = new pg.Client(connection);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}

it('runs what is pending, in order, once', async () => {
  await write('0001_first', 'CREATE TABLE first (id int PRIMARY KEY);');
  await write('0002_second', 'ALTER TABLE first ADD COLUMN name text;');
  expect(await pendingMigrations(database.connection, { migrationsDir })).toEqual(['0001_first', '0002_second']);
  expect(await run()).toEqual(['0001_first', '0002_second']);
  expect(log).toEqual(['migrated the database: 0001_first', 'migrated the database: 0002_second']);
  expect(await run()).toEqual([]);
  await write('0010_tenth', 'ALTER TABLE first RENAME COLUMN name TO title;');
  expect(await run()).toEqual(['0010_tenth']);
  expect(await pendingMigrations(database.connection, { migrationsDir })).toEqual([]);
  expect(await select('SELECT title FROM first')).toEqual([]);
});

it('leaves SQL as it is written, function bodies and braces too', async () => {
  await write(
    '0001_function',
    `CREATE FUNCTION shape() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN '{a} {0} \${b} :c %I'; END $$;`,
  );
  await run();
  expect(await select('SELECT shape()')).toEqual([{ shape: '{a} {0} ${b} :c %I' }]);
});

it('changes nothing when a migration fails in the middle', async () => {
  await write('0001_good', 'CREATE TABLE good (id int);');
  await write('0002_bad', 'CREATE TABLE half (id int); SELECT * FROM nowhere;');
  await expect(run()).rejects.toThrow(MigrationError);
  expect(log.join('\n')).toContain('nowhere');
  expect(await select(`SELECT to_regclass('good') AS good, to_regclass('half') AS half`)).toEqual([
    { good: null, half: null },
  ]);
  await write('0002_bad', 'CREATE TABLE half (id int);');
  expect(await run()).toEqual(['0001_good', '0002_bad']);
});

it('lets any number of processes migrate at once', async () => {
  await write('0001_first', 'CREATE TABLE first (id int); SELECT pg_sleep(0.1);');
  await write('0002_second', 'INSERT INTO first VALUES (1);');
  const ran = await Promise.all([run(), run(), run(), run()]);
  expect(ran.flat()).toEqual(['0001_first', '0002_second']);
  expect(await select('SELECT id FROM first')).toEqual([{ id: 1 }]);
});

it('may take longer than the operator lets statements take', async () => {
  await select(`ALTER DATABASE ${database.connection.database} SET statement_timeout = '100ms'`);
  await write('0001_slow', 'SELECT pg_sleep(0.3);');
  expect(await run()).toEqual(['0001_slow']);
});

describe('a table that somebody else uses in a long transaction', () => {
  let other: pg.Client;
  beforeEach(async () => {
    await write('0001_first', 'CREATE TABLE first (id int); CREATE TABLE other (id int);');
    await run();
    await write('0002_second', 'ALTER TABLE other ADD COLUMN title text; ALTER TABLE first ADD COLUMN title text;');
    log.length = 0;
    other = new pg.Client({ ...database.connection, application_name: 'a long report' });
    await other.connect();
    await other.query('BEGIN; SELECT FROM first');
  });
  afterEach(() => other.end());

  const migratePatiently = (patience: LockPatience, signal?: AbortSignal): Promise<string[]> =>
    migrate(database.connection, { log: (line) => log.push(line), migrationsDir, patience, ...(signal && { signal }) });
  const gaveWay = (): boolean => log.some((line) => line.includes('gives way'));

  it('is waited for again and again; readers get through meanwhile, and the log says who holds it', async () => {
    const waits =
      /^the migration of the database waits for a lock on first, which is held by session \d+ \(a long report, idle in transaction\)$/;
    const migrating = migratePatiently({ lockMs: 300, pauseMs: 100, tries: 1000 });
    await expect.poll(gaveWay, eventually).toBe(true);
    // Behind the migration, and never for long.
    expect(await select('SELECT id FROM first')).toEqual([]);
    await expect.poll(() => log.some((line) => waits.test(line)), eventually).toBe(true);
    await other.query('COMMIT');
    expect(await migrating).toEqual(['0002_second']);
    expect(await select('SELECT first.title FROM first, other')).toEqual([]);
  });

  it('is not waited for for ever: then it is said what can be done, and nothing was changed', async () => {
    const failure = migratePatiently({ lockMs: 500, pauseMs: 1, tries: 4 });
    const asked = expect(failure).rejects.toThrow(
      /needs a lock on first, which is held by session \d+ \(a long report, idle in transaction\), and could not have it 4 times for 0\.5 seconds; end that session/,
    );
    await expect(failure).rejects.toThrow(MigrationError);
    await asked;
    expect(await select(`SELECT FROM information_schema.columns WHERE column_name = 'title'`)).toEqual([]);
  });

  it('is not waited for when told to stop', async () => {
    const abort = new AbortController();
    const outcome = Promise.allSettled([migratePatiently({ lockMs: 1, pauseMs: 3_600_000, tries: 2 }, abort.signal)]);
    await expect.poll(gaveWay, eventually).toBe(true);
    abort.abort(new Error('enough'));
    expect(await outcome).toMatchObject([{ reason: { message: 'enough' } }]);
  });
});

it('waits for a process that migrates as long as that takes, whatever the operator lets locks take', async () => {
  await select(`ALTER DATABASE ${database.connection.database} SET lock_timeout = '50ms'`);
  await write('0001_slow', 'SELECT pg_sleep(0.5);');
  expect((await Promise.all([run(), run()])).flat()).toEqual(['0001_slow']);
});

it('refuses a database that a newer Berth migrated', async () => {
  await write('0001_first', 'CREATE TABLE first (id int);');
  await write('0002_second', 'CREATE TABLE second (id int);');
  await run();
  await rm(path.join(migrationsDir, '0002_second.sql'));
  const message = 'the database was migrated by a newer Berth (it has 0002_second); run that version or newer';
  await expect(run()).rejects.toThrow(new DatabaseNewerError('0002_second'));
  await expect(run()).rejects.toThrow(message);
  await expect(pendingMigrations(database.connection, { migrationsDir })).rejects.toThrow(message);
});

describe('a newer schema that says from which migration on a Berth may run', () => {
  beforeEach(async () => {
    await write(
      '0001_first',
      `CREATE TABLE schema_minimum (migration text); INSERT INTO schema_minimum VALUES ('0001_first');`,
    );
    await write('0002_second', 'CREATE TABLE second (id int);');
    await run();
  });
  const newer = `the database was migrated by a newer Berth (it has 0003_third), which lets this one go on beside it`;

  it('lets an older one run beside it, and says so', async () => {
    await write('0003_third', 'CREATE TABLE third (id int);');
    await run();
    await rm(path.join(migrationsDir, '0003_third.sql'));
    log.length = 0;
    expect(await run()).toEqual([]);
    expect(log).toEqual([newer]);
    expect(await pendingMigrations(database.connection, { migrationsDir })).toEqual([]);
  });

  it('refuses one that is older than that', async () => {
    await write('0003_third', `DROP TABLE second; UPDATE schema_minimum SET migration = '0002_second';`);
    await run();
    await rm(path.join(migrationsDir, '0003_third.sql'));
    expect(await run()).toEqual([]);
    await rm(path.join(migrationsDir, '0002_second.sql'));
    await expect(run()).rejects.toThrow(new DatabaseNewerError('0003_third'));
  });

  it('refuses one that has migrations of its own', async () => {
    await write('0003_third', 'CREATE TABLE third (id int);');
    await run();
    await rm(path.join(migrationsDir, '0003_third.sql'));
    await write('0004_fourth', 'CREATE TABLE fourth (id int);');
    await expect(run()).rejects.toThrow(new DatabaseNewerError('0003_third'));
  });
});

it('lets this Berth run on its own schema when that is the oldest that may', async () => {
  const own = await createTestDatabase();
  try {
    const future = `INSERT INTO schema_migrations (name, run_on) VALUES ('9999_future', now())`;
    await inDatabase(own, future);
    expect(await migrate(own.connection, { log: (line) => log.push(line) })).toEqual([]);
    await inDatabase(own, `UPDATE schema_minimum SET migration = '9999_future'`);
    await expect(migrate(own.connection, { log: () => {} })).rejects.toThrow(DatabaseNewerError);
  } finally {
    await own.drop();
  }
});

it('stops waiting for another process when told to', async () => {
  await write('0001_slow', 'SELECT pg_sleep(60);');
  const abort = new AbortController();
  const slow = migrate(database.connection, { log: () => {}, migrationsDir, signal: abort.signal });
  const waiting = migrate(database.connection, { log: () => {}, migrationsDir, signal: abort.signal });
  const outcome = Promise.allSettled([slow, waiting]);
  const isWaiting = `SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
  await expect.poll(() => select(isWaiting), eventually).toHaveLength(1);
  abort.abort(new Error('enough'));
  expect(await outcome).toMatchObject([{ reason: { message: 'enough' } }, { reason: { message: 'enough' } }]);
});

it('says that there is no database', async () => {
  const nowhere = { host: migrationsDir, user: 'berth', database: 'berth' };
  await expect(migrate(nowhere, { log: () => {} })).rejects.toThrow(DatabaseUnavailableError);
});
