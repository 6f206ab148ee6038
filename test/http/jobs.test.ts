import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { EmbeddedConnection } from '../../src/database/embedded/embedded.ts';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import { startJobs, type Jobs } from '../../src/jobs/jobs.ts';
import type { Task } from '../../src/jobs/tasks.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { createDatabaseProxy, type DatabaseProxy } from '../support/database-proxy.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { randomContent } from '../support/images.ts';
import { unheardDuring } from '../support/unheard.ts';
import { openUpload, sendChunk } from '../support/uploads.ts';

const eventually = { timeout: 20_000, interval: 20 };

describe('a running Berth', () => {
  let berth: TestBerth;
  let admin: Client;
  beforeAll(async () => {
    berth = await startTestBerth();
    admin = clientOf(berth.url, berth.admin);
  });
  afterAll(() => berth.stop());

  const queue = (task: string) => berth.database.query('SELECT graphile_worker.add_job($1)', [task]);
  const uploadFiles = () => readdir(path.join(berth.dataDir, 'storage/uploads'));

  test('knows by itself when to sweep', async () => {
    await vi.waitFor(async () => {
      const rows = await berth.database.query<{ identifier: string }>(
        'SELECT identifier FROM graphile_worker._private_known_crontabs ORDER BY 1',
      );
      expect(rows.map((row) => row.identifier)).toEqual([
        'delete-objects',
        'expire-audit-log',
        'free-jobs',
        'sweep-abandoned-uploads',
        'sweep-expired-uploads',
        'sweep-idempotency-keys',
        'sweep-links-and-sessions',
        'sweep-rate-limits',
        'tend-signing-keys',
      ]);
    }, eventually);
  });

  test('frees the bytes of an upload that has expired', async () => {
    const session = await openUpload(admin, 'acme/expired');
    await sendChunk(admin, session, randomContent().bytes);
    expect(await uploadFiles()).toHaveLength(1);
    await berth.database.query(`UPDATE uploads SET expires_at = now() - interval '1 second'`);
    await queue('sweep-expired-uploads');
    await vi.waitFor(async () => expect(await uploadFiles()).toEqual([]), eventually);
    expect((await admin.request('get', session)).status).toBe(404);
  });

  test('deletes the second copy of a blob, and serves the first to both repositories', async () => {
    const blob = randomContent();
    await admin.pushBlob('acme/first', blob);
    await admin.pushBlob('acme/second', blob);
    const copies = async () => {
      const names = await readdir(path.join(berth.dataDir, 'storage/blobs'), { recursive: true });
      return names.filter((name) => name.includes(blob.digest.slice('sha256:'.length)));
    };
    expect(await copies()).toHaveLength(2);
    await queue('delete-objects');
    await vi.waitFor(async () => {
      expect(await copies()).toHaveLength(1);
      expect(await berth.database.query('SELECT 1 FROM storage_deletions')).toEqual([]);
    }, eventually);
    for (const name of ['acme/first', 'acme/second']) {
      const answer = await admin.request('get', `/v2/${name}/blobs/${blob.digest}`).buffer(true);
      expect(answer.body).toEqual(blob.bytes);
    }
  });

  test('keeps the rows of the audit log for a year', async () => {
    await berth.database.query(
      `INSERT INTO audit_log (at, actor_name, action, outcome, target)
       SELECT now() - make_interval(days => days), 'ada', 'tag.delete', 'done', days::text FROM unnest(ARRAY[364, 366]) AS days`,
    );
    const kept = `SELECT target FROM audit_log WHERE actor_name = 'ada'`;
    await queue('expire-audit-log');
    await vi.waitFor(async () => expect(await berth.database.query(kept)).toEqual([{ target: '364' }]), eventually);
  });

  test('forgets counters that are over', async () => {
    await berth.database.query(
      `INSERT INTO rate_limits (key, points, expire)
       SELECT minutes::text, 1, extract(epoch FROM now() + make_interval(mins => minutes)) * 1000 FROM unnest(ARRAY[-1, 5]) AS minutes`,
    );
    await queue('sweep-rate-limits');
    const left = () => berth.database.query('SELECT key FROM rate_limits');
    await vi.waitFor(async () => expect(await left()).toEqual([{ key: '5' }]), eventually);
  });
});

describe('background work', () => {
  const closers: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).toReversed()) await close();
  });

  async function openFacts(options?: { migrated: boolean }): Promise<{ facts: TestDatabase; database: Database }> {
    const facts = await createTestDatabase(options);
    closers.push(() => facts.drop());
    const database = createDatabase({ connection: facts.connection, poolSize: 2, hotLanes: 1 });
    closers.push(() => database.close());
    return { facts, database };
  }

  async function openProxy(facts: TestDatabase): Promise<DatabaseProxy> {
    const proxy = await createDatabaseProxy(facts.connection);
    closers.push(() => proxy.close());
    return proxy;
  }

  function start(connection: EmbeddedConnection, run: Task['run'], shutdownGraceSeconds = 30) {
    const logs: { level: string; msg: string; err?: { message: string } }[] = [];
    const logger = createLogger(
      { level: 'info', format: 'json' },
      { write: (line: string) => void logs.push(JSON.parse(line)) },
    );
    const tasks: Task[] = [{ name: 'work', schedule: '0 0 1 1 *', run }];
    const limits = { connectMs: 2000, statementMs: 500 };
    const jobs: Jobs = startJobs({ connection, tasks, logger, limits, shutdownGraceSeconds });
    closers.push(() => jobs.stop());
    return { jobs, logs };
  }

  const queueWork = (database: Database) => database.query(`SELECT graphile_worker.add_job('work')`);

  test('outlives the database, says so once, and goes on', async () => {
    const { facts, database } = await openFacts();
    const proxy = await openProxy(facts);
    let runs = 0;
    const cut = Promise.withResolvers<void>();
    const { logs } = start(proxy.connection, async () => {
      runs += 1;
      // In the first run the database goes away, so that the end of the job cannot be told.
      if (runs > 1) return;
      await proxy.cut();
      cut.resolve();
    });
    await queueWork(database);
    await cut.promise;
    await vi.waitFor(() => expect(logs).toHaveLength(1), eventually);
    expect(logs[0]).toMatchObject({ level: 'error', msg: expect.stringContaining('pauses') });

    await proxy.join();
    // Nobody was told that it was done, and it is done again.
    await vi.waitFor(() => expect(runs).toBe(2), eventually);
    expect(logs.slice(1)).toMatchObject([{ level: 'info', msg: 'background work goes on' }]);
  });

  test('gives up a connection that has gone silent, and goes on with another', async () => {
    const { facts, database } = await openFacts();
    const proxy = await openProxy(facts);
    const runs: PromiseWithResolvers<void>[] = [Promise.withResolvers(), Promise.withResolvers()];
    let begun = 0;
    const { logs } = start(proxy.connection, async () => runs[begun++]?.resolve());
    await queueWork(database);
    await runs[0]!.promise;

    proxy.hold('');
    await queueWork(database);
    await vi.waitFor(() => expect(logs).toHaveLength(1), eventually);
    expect(logs[0]).toMatchObject({ level: 'error', msg: expect.stringContaining('pauses') });
    proxy.hold('nothing that anybody says');
    await runs[1]!.promise;
  });

  test('waits for a database that is not there yet', async () => {
    const { facts, database } = await openFacts();
    const proxy = await openProxy(facts);
    await proxy.cut();
    const ran = Promise.withResolvers<void>();
    const { logs } = start(proxy.connection, async () => ran.resolve());
    await vi.waitFor(() => expect(logs).toHaveLength(1), eventually);
    await proxy.join();
    await queueWork(database);
    await ran.promise;
  });

  test('can be stopped while the database is away', async () => {
    const { facts } = await openFacts();
    const proxy = await openProxy(facts);
    await proxy.cut();
    const { jobs, logs } = start(proxy.connection, async () => undefined);
    await vi.waitFor(() => expect(logs).toHaveLength(1), eventually);
    await jobs.stop();
  });

  test('can be stopped while the database is slow to let it listen for jobs', async () => {
    const { facts, database } = await openFacts();
    const proxy = await openProxy(facts);
    proxy.hold('LISTEN "jobs:insert"');
    const { jobs } = start(proxy.connection, async () => undefined, 0.1);
    const listening = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`;
    await vi.waitFor(async () => expect(await database.query(listening)).toHaveLength(1), eventually);
    expect(await unheardDuring(() => jobs.stop())).toEqual([]);
  });

  test('that fails is logged by its name and tried again', async () => {
    const { facts, database } = await openFacts();
    let runs = 0;
    const { logs } = start(facts.connection, async () => {
      runs += 1;
      if (runs === 1) throw new Error('the storage is on fire');
    });
    await queueWork(database);
    await vi.waitFor(() => expect(logs).toHaveLength(1), eventually);
    expect(logs[0]).toMatchObject({ level: 'error', task: 'work', err: { message: 'the storage is on fire' } });
    await vi.waitFor(async () => {
      const jobs = await database.query<{ attempts: number }>('SELECT attempts FROM graphile_worker.jobs');
      expect(jobs).toEqual([{ attempts: 1 }]);
    }, eventually);
  });

  test('is told to end, and does not keep a stop longer than the grace', async () => {
    const { facts, database } = await openFacts();
    const running = Promise.withResolvers<AbortSignal>();
    const end = Promise.withResolvers<void>();
    const { jobs } = start(
      facts.connection,
      (signal) => {
        running.resolve(signal);
        return end.promise;
      },
      0.1,
    );
    await queueWork(database);
    const signal = await running.promise;
    await jobs.stop();
    expect(signal.aborted).toBe(true);
    end.resolve();
  });

  test('asks an operator who gave too few rights for them', async () => {
    const { facts, database } = await openFacts({ migrated: false });
    const role = `role_${facts.connection.database}`;
    await database.query(`CREATE ROLE ${role} LOGIN`);
    const { jobs, logs } = start({ ...facts.connection, user: role }, async () => undefined);
    await vi.waitFor(() => expect(logs).toHaveLength(1), eventually);
    expect(logs[0]).toMatchObject({ level: 'error', err: { message: expect.stringContaining('permission denied') } });
    await jobs.stop();
    await database.query(`DROP ROLE ${role}`);
  });
});
