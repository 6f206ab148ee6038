import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createDatabaseProxy, type DatabaseProxy } from '../../test/support/database-proxy.ts';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { migrate } from './migrate.ts';
import { createDatabase, DatabaseUnavailableError, type Connection, type Database } from './pool.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

let facts: TestDatabase;
beforeEach(async () => {
  facts = await createTestDatabase();
  closers.push(() => facts.drop());
});

async function openProxy(): Promise<DatabaseProxy> {
  const proxy = await createDatabaseProxy(facts.connection);
  closers.push(() => proxy.close());
  return proxy;
}

function open(connection: Connection, connectMs = 10_000): Database {
  const limits = { connectMs, statementMs: 30_000, idleInTransactionMs: 30_000 };
  const database = createDatabase({ connection, poolSize: 2, hotLanes: 1, limits });
  closers.push(() => database.close());
  return database;
}

/** As a standby: it answers, and cannot be written to. */
async function makeReadOnly(): Promise<void> {
  const operator = open(facts.connection);
  await operator.query(
    `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`,
  );
}

/** Takes connections, and says nothing. */
async function openSilentServer(): Promise<{ host: string; connections(): number }> {
  const host = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  let connections = 0;
  const server: Server = createServer((socket) => {
    connections += 1;
    socket.on('error', () => undefined);
    closers.push(async () => socket.destroy());
  });
  server.listen(path.join(host, '.s.PGSQL.5432'));
  await once(server, 'listening');
  closers.push(async () => {
    server.close();
    await rm(host, { recursive: true, force: true });
  });
  return { host, connections: () => connections };
}

const name = 'SELECT current_database() AS name';

test('of several servers those that are dead, silent or can only be read are passed over', async () => {
  const standby = facts;
  await makeReadOnly();
  facts = await createTestDatabase();
  closers.push(() => facts.drop());
  const dead = { ...facts.connection, host: path.join(tmpdir(), 'berth-no-such-folder') };
  const silent = await openSilentServer();
  for (const first of [dead, { ...facts.connection, host: silent.host, port: 5432 }, standby.connection]) {
    // The one that is asked first may take all of this; nobody else waits for it.
    const database = open([first, facts.connection], 500);
    expect(await database.query(name)).toEqual([{ name: facts.connection.database }]);
    expect(await database.hot.query(name)).toEqual([{ name: facts.connection.database }]);
  }
  expect(silent.connections()).toBeGreaterThan(0);
  expect(await migrate([dead, standby.connection, facts.connection], { log: () => undefined })).toEqual([]);
});

test('where none can be written to, that is what is said, of each', async () => {
  await makeReadOnly();
  const dead = { ...facts.connection, host: path.join(tmpdir(), 'berth-no-such-folder') };
  const failure = await open([dead, facts.connection])
    .query(name)
    .catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(DatabaseUnavailableError);
  expect(String(failure)).toMatch(/berth-no-such-folder.*ENOENT.*; .*can only be read/);
});

test('a server that is alone is taken as it is, unless its URL wants one that can be written to', async () => {
  await makeReadOnly();
  expect(await open({ connectionString: facts.url }).query(name)).toHaveLength(1);
  const strict = open({ connectionString: `${facts.url}&target_session_attrs=read-write` });
  await expect(strict.query(name)).rejects.toThrow(DatabaseUnavailableError);
  await expect(strict.transaction((queryer) => queryer.query(name))).rejects.toThrow('it can only be read');
});

test('when the server dies the next statements go to the other one, and back again', async () => {
  const [first, second] = [await openProxy(), await openProxy()];
  const database = open([first.connection, second.connection]);
  const answers = async (): Promise<void> => {
    await vi.waitFor(async () => expect(await database.query(name)).toHaveLength(1));
    await vi.waitFor(async () => expect(await database.hot.query(name)).toHaveLength(1));
  };
  await answers();
  await first.cut();
  await answers();
  await first.join();
  await second.cut();
  await answers();
  await first.cut();
  await expect(database.query(name)).rejects.toThrow(DatabaseUnavailableError);
  await second.join();
  expect(await database.query(name)).toHaveLength(1);
});

test('a server that becomes a standby is left for another one', async () => {
  const old = facts;
  facts = await createTestDatabase();
  closers.push(() => facts.drop());
  const database = open([old.connection, facts.connection]);
  // Both can be written to; whichever it took becomes the standby, without ending anybody's session.
  const [{ name: taken } = { name: '' }] = await database.query<{ name: string }>(name);
  await database.query(
    `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`,
  );
  await database.query(`SELECT set_config('default_transaction_read_only', 'on', false)`);
  const write = (): Promise<unknown> => database.query(`CREATE TABLE IF NOT EXISTS proof (name text)`);
  await expect(write()).rejects.toThrow(DatabaseUnavailableError);
  await write();
  expect(await database.query<{ name: string }>(name)).not.toEqual([{ name: taken }]);
});
