/** PgBouncer in transaction mode between Berth and PostgreSQL: no statement may rely on what another one left on its connection. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { makeImage } from '../support/images.ts';
import { startPgBouncer, type PgBouncer } from '../support/pgbouncer.ts';
import { titled, whyNot } from '../support/tools.ts';

const reason = whyNot('pgbouncer');

describe.skipIf(reason !== undefined)(titled('behind PgBouncer', reason), () => {
  let facts: TestDatabase;
  let bouncer: PgBouncer;
  let berth: TestBerth;
  let admin: Client;
  /** Past it. */
  let operator: Database;
  beforeAll(async () => {
    facts = await createTestDatabase({ migrated: false });
    bouncer = await startPgBouncer(facts.connection, 2);
    berth = await startTestBerth({
      BERTH_DATABASE_URL: bouncer.url,
      BERTH_DATABASE_POOLER: 'transaction',
      BERTH_DATABASE_DIRECT_URL: facts.url,
    });
    admin = clientOf(berth.url, berth.admin);
    operator = createDatabase({ connection: facts.connection, poolSize: 2, hotLanes: 1 });
  });
  afterAll(async () => {
    await operator?.close();
    await berth?.stop();
    await bouncer?.stop();
    await facts?.drop();
  });

  test('many push and pull at once over two connections to PostgreSQL', async () => {
    const images = Array.from({ length: 12 }, () => makeImage());
    await Promise.all(images.map((image, i) => admin.pushImage(`acme/app${i % 3}`, `v${i}`, image)));
    const pulls = images.flatMap((image, i) =>
      Array.from({ length: 5 }, async () => {
        const answer = await admin.request('get', `/v2/acme/app${i % 3}/manifests/v${i}`);
        expect(answer).toMatchObject({ status: 200, text: image.bytes.toString() });
        const { digest, bytes } = image.config;
        const blob = await admin.request('get', `/v2/acme/app${i % 3}/blobs/${digest}`).buffer(true);
        expect(blob.body).toEqual(bytes);
      }),
    );
    await Promise.all(pulls);
    const tags = await admin.request('get', '/v2/acme/app0/tags/list');
    expect(tags.body).toEqual({ name: 'acme/app0', tags: ['v0', 'v3', 'v6', 'v9'] });
    const changed = await admin.request('patch', '/api/v1/repositories/acme/app1/-').send({ visibility: 'public' });
    expect(changed.status).toBe(200);
    expect(bouncer.complaints).toEqual([]);
  });

  test('background work goes past it', async () => {
    await operator.query(`SELECT graphile_worker.add_job('sweep-idempotency-keys')`);
    await vi.waitFor(async () => expect(await operator.query('SELECT 1 FROM graphile_worker.jobs')).toEqual([]), {
      timeout: 20_000,
      interval: 50,
    });
    const listening = await operator.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'berth jobs' AND query LIKE 'LISTEN%'`,
    );
    expect(listening).toHaveLength(1);
  });

  test('limits are those of each transaction, and stay on no connection', async () => {
    const database = createDatabase({
      connection: { connectionString: bouncer.url },
      pooler: 'transaction',
      limits: { connectMs: 10_000, statementMs: 200, idleInTransactionMs: 7000 },
      poolSize: 2,
      hotLanes: 1,
    });
    const setting = `SELECT current_setting('statement_timeout') AS statement, current_setting('idle_in_transaction_session_timeout') AS idle`;
    try {
      expect(await database.transaction((queryer) => queryer.query(setting))).toEqual([
        { statement: '200ms', idle: '7s' },
      ]);
      expect(await database.patient.query(setting)).toEqual([{ statement: '10min', idle: '7s' }]);
      expect(await database.query(setting)).toEqual([{ statement: '0', idle: '0' }]);
      const nap = database.transaction((queryer) => queryer.query('SELECT pg_sleep(60)'));
      await expect(nap).rejects.toThrow(/statement timeout/);
      await expect(database.query('SELECT pg_sleep(60)')).rejects.toThrow(/not available/);
      expect(await database.hot.query('SELECT $1::text AS said', ['on'])).toEqual([{ said: 'on' }]);
    } finally {
      await database.close();
    }
  });
});
