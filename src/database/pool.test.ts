import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createDatabaseProxy, type DatabaseProxy } from '../../test/support/database-proxy.ts';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { unheardDuring } from '../../test/support/unheard.ts';
import { createDatabase, DatabaseUnavailableError, type Database } from './pool.ts';

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

  test('as it goes from one caller to the next: the next one fails, and nothing else', async () => {
    const unheard = await unheardDuring(async () => {
      proxy.hold('SELECT 1 AS one');
      const answered = database.query('SELECT 1 AS one');
      const refused = expect(transaction()).rejects.toThrow(DatabaseUnavailableError);
      await endBehindTheAnswer('SELECT 1 AS one');
      expect(await answered).toEqual([{ one: 1 }]);
      await refused;
    });
    expect(unheard).toEqual([]);
    expect(await transaction()).toHaveLength(1);
  });
});
