import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { createDatabase, type Database } from '../database/pool.ts';
import { expireAudit } from './audit-expiry.ts';

let facts: TestDatabase;
let database: Database;
beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 4, hotLanes: 1 });
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});
beforeEach(() => emptyTheLog());

const { signal } = new AbortController();
const insert = `INSERT INTO audit_log (at, actor_name, action, outcome, target)
  SELECT now() - make_interval(days => $1) - n * interval '1 second', 'ada', 'tag.delete', 'done', 'acme/app:' || $1 || '-' || n
  FROM generate_series(1, $2) AS n`;
const count = async () =>
  (await database.query<{ count: number }>('SELECT count(*)::integer AS count FROM audit_log'))[0]!.count;

/** As only the owner of the table can: without its trigger. */
async function emptyTheLog(): Promise<void> {
  await database.query('ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only');
  await database.query('TRUNCATE audit_log');
  await database.query('ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only');
}

describe('rows', () => {
  test('go when they are older than the setting, and not before', async () => {
    await database.query(insert, [30, 3]);
    await database.query(insert, [29, 2]);
    expect(await expireAudit(database, 30, signal)).toBe(3);
    expect(await count()).toBe(2);
    expect(await expireAudit(database, 30, signal)).toBe(0);
  });

  test('go in portions, as many as it takes, also when two processes are at it', async () => {
    await database.query(insert, [400, 12_000]);
    await database.query(insert, [1, 1]);
    const expired = await Promise.all([expireAudit(database, 365, signal), expireAudit(database, 365, signal)]);
    // One may skip what the other has locked, and leave the rest to it.
    expect(expired[0] + expired[1]).toBe(12_000);
    expect(await count()).toBe(1);
  });

  test('are left to a later run when this one is told to end', async () => {
    await database.query(insert, [400, 1]);
    expect(await expireAudit(database, 365, AbortSignal.abort())).toBe(0);
    expect(await count()).toBe(1);
  });
});

describe('the log is append-only', () => {
  const refused = { code: '42501', message: expect.stringContaining('audit_log is append-only') };
  beforeEach(() => database.query(insert, [400, 1]));

  test.each([
    "UPDATE audit_log SET actor_name = 'somebody else'",
    'DELETE FROM audit_log',
    'DELETE FROM audit_log WHERE false',
    'TRUNCATE audit_log',
    `INSERT INTO audit_log (id, at, actor_name, action, outcome, target) OVERRIDING SYSTEM VALUE
       SELECT id, at, 'somebody else', action, outcome, target FROM audit_log
       ON CONFLICT (id) DO UPDATE SET actor_name = excluded.actor_name`,
  ])('%s is refused', async (statement) => {
    await expect(database.query(statement)).rejects.toMatchObject(refused);
    expect(await database.query('SELECT actor_name FROM audit_log')).toEqual([{ actor_name: 'ada' }]);
  });

  test.each(['on', '', '1'])('a setting left at "%s" does not open it', async (value) => {
    const change = database.transaction(async (queryer) => {
      await queryer.query("SELECT set_config('berth.audit_expiry', $1, false)", [value]);
      await queryer.query('DELETE FROM audit_log');
    });
    await expect(change).rejects.toMatchObject(refused);
  });

  test('an expiry opens it to nothing else in its transaction', async () => {
    const change = database.transaction(async (queryer) => {
      await queryer.query('SELECT berth_expire_audit(365, 10)');
      await queryer.query('DELETE FROM audit_log');
    });
    await expect(change).rejects.toMatchObject(refused);
    expect(await count()).toBe(1);
  });

  test('a session that plays a replica is refused, too', async () => {
    const change = database.transaction(async (queryer) => {
      await queryer.query('SET LOCAL session_replication_role = replica');
      await queryer.query('DELETE FROM audit_log');
    });
    await expect(change).rejects.toMatchObject(refused);
  });

  test.each([0, -1, null])('an expiry after %s days is refused', async (days) => {
    await expect(database.query('SELECT berth_expire_audit($1, 10)', [days])).rejects.toThrow('one day at least');
  });
});
