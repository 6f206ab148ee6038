import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createDatabaseProxy, type DatabaseProxy } from '../../test/support/database-proxy.ts';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { unheardDuring } from '../../test/support/unheard.ts';
import {
  createDatabase,
  DatabaseUnavailableError,
  type Connection,
  type Database,
  type DatabaseLimits,
} from './pool.ts';

describe('a connection that PostgreSQL ends', () => {
  let facts: TestDatabase;
  let proxy: DatabaseProxy;
  /** Of one connection, by way of the proxy. */
  let database: Database;
  /** Past the proxy. */
  let operator: Database;
  beforeEach(async () => {
    facts = await createTestDatabase();
    proxy = await createDatabaseProxy(facts.connection);
    database = createDatabase({ connection: proxy.connection, poolSize: 1, hotLanes: 1 });
    operator = createDatabase({ connection: facts.connection, poolSize: 1, hotLanes: 1 });
  });
  afterEach(async () => {
    await Promise.all([database.close(), operator.close()]);
    await proxy.close();
    await facts.drop();
  });

  /** Ends what `database` has open once it has been answered, so that the client finds answer and end in one piece. */
  async function endBehindTheAnswer(query: string): Promise<void> {
    const others = `FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'berth'`;
    const answered = `SELECT 1 ${others} AND state = 'idle' AND query LIKE $1`;
    await vi.waitFor(async () => expect(await operator.query(answered, [`${query}%`])).toHaveLength(1));
    await operator.query(`SELECT pg_terminate_backend(pid, 10000) ${others}`);
    proxy.release();
  }

  const transaction = () => database.transaction((queryer) => queryer.query('SELECT 2'));

  test('as soon as it is made: the transaction that wanted it fails, and nothing else', async () => {
    const unheard = await unheardDuring(async () => {
      // Its first message names the application.
      proxy.hold('berth');
      const refused = expect(transaction()).rejects.toThrow(DatabaseUnavailableError);
      await endBehindTheAnswer('');
      await refused;
    });
    expect(unheard).toEqual([]);
    expect(await transaction()).toHaveLength(1);
  });

  test('as it goes from one caller to the next: the next one gets another', async () => {
    const unheard = await unheardDuring(async () => {
      proxy.hold('SELECT 1 AS one');
      const answered = database.query('SELECT 1 AS one');
      const next = transaction();
      await endBehindTheAnswer('SELECT 1 AS one');
      expect(await answered).toEqual([{ one: 1 }]);
      expect(await next).toHaveLength(1);
    });
    expect(unheard).toEqual([]);
    expect(await transaction()).toHaveLength(1);
  });
});

describe('limits', () => {
  let facts: TestDatabase;
  let proxy: DatabaseProxy;
  const opened: Database[] = [];
  beforeEach(async () => {
    facts = await createTestDatabase();
    proxy = await createDatabaseProxy(facts.connection);
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((database) => database.close()));
    await proxy.close();
    await facts.drop();
  });

  function open(limits: Partial<DatabaseLimits>, connection: Connection = proxy.connection): Database {
    const all = { connectMs: 10_000, statementMs: 10_000, idleInTransactionMs: 10_000, ...limits };
    const database = createDatabase({ connection, poolSize: 2, hotLanes: 1, limits: all });
    opened.push(database);
    return database;
  }

  test('a server that stops answering costs a statement its limit and a little more, then there is a new connection', async () => {
    const database = open({ statementMs: 100 });
    proxy.hold('SELECT 1 AS one');
    const unanswered = [
      database.query('SELECT 1 AS one'),
      database.hot.query('SELECT 1 AS one'),
      database.transaction((queryer) => queryer.query('SELECT 1 AS one')),
    ].map((asked) => expect(asked).rejects.toThrow(DatabaseUnavailableError));
    await Promise.all(unanswered);
    proxy.hold('nothing that anybody says');
    expect(await database.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(await database.hot.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  test('a statement that takes too long is ended, by the server too', async () => {
    const database = open({ statementMs: 100 });
    const nap = 'SELECT pg_sleep(60)';
    for (const queryer of [database, database.hot]) {
      await expect(queryer.query(nap)).rejects.toThrow(/statement timeout/);
      await expect(queryer.query(nap)).rejects.toThrow(DatabaseUnavailableError);
    }
    await expect(database.transaction((queryer) => queryer.query(nap))).rejects.toThrow(/statement timeout/);
    const napping = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query = $1`;
    await vi.waitFor(async () => expect(await database.query(napping, [nap])).toEqual([]));
  });

  test('patient work is not ended by them', async () => {
    const { patient } = open({ statementMs: 100 });
    expect(await patient.query(`SELECT pg_sleep(0.3)::text AS slept`)).toEqual([{ slept: '' }]);
    const slept = await patient.transaction((queryer) => queryer.query('SELECT pg_sleep(0.3)::text AS slept'));
    expect(slept).toEqual([{ slept: '' }]);
  });

  test('a sign of life is waited for no longer than one wants to', async () => {
    const database = open({});
    await database.ping(10_000);
    proxy.hold('SELECT 1');
    await expect(database.ping(50)).rejects.toThrow(DatabaseUnavailableError);
    proxy.hold('nothing that anybody says');
    await database.ping(10_000);
  });

  test('what a constraint refuses costs no connection', async () => {
    const database = open({});
    const pid = 'SELECT pg_backend_pid() AS pid';
    const before = await database.query(pid);
    const refused = database.query(`INSERT INTO blobs (digest) VALUES (NULL)`);
    await expect(refused).rejects.toThrow();
    expect(await database.query(pid)).toEqual(before);
  });

  test("hot reads walk indexes, whatever options the operator's URL has beside that", async () => {
    const { hot } = open({}, { connectionString: `${facts.url}&options=-c%20work_mem%3D5MB` });
    const setting = (name: string) => hot.query(`SELECT current_setting($1) AS value`, [name]);
    expect(await setting('work_mem')).toEqual([{ value: '5MB' }]);
    expect(await setting('enable_seqscan')).toEqual([{ value: 'off' }]);
  });
});
