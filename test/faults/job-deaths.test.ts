/** A process that dies in the middle of background work: another one does it, and does not wait for hours until it may. */
import pg from 'pg';
import { expect, test } from 'vitest';
import { spawnBerth, type BerthProcess } from '../support/berth.ts';
import { createTestDatabase } from '../support/database.ts';
import { until } from '../support/faults.ts';
import { temporaryFolder } from '../support/tools.ts';

test('work that a process died in is done by the next one; that of one that lives is its own, however long it takes', async () => {
  const [facts, data] = await Promise.all([createTestDatabase(), temporaryFolder('jobs')]);
  const [client, other] = [new pg.Client(facts.connection), new pg.Client(facts.connection)];
  await Promise.all([client.connect(), other.connect()]);
  const start = (): Promise<BerthProcess> => spawnBerth({ BERTH_DATABASE_URL: facts.url, BERTH_DATA_DIR: data.folder });
  const add = async (task: string): Promise<string> =>
    (await client.query<{ id: string }>('SELECT id FROM graphile_worker.add_job($1)', [task])).rows[0]!.id;
  const holderOf = async (id: string): Promise<string | null | undefined> =>
    (await client.query<{ locked_by: string }>('SELECT locked_by FROM graphile_worker.jobs WHERE id = $1', [id]))
      .rows[0]?.locked_by;
  const freeJobs = async (): Promise<void> => {
    const id = await add('free-jobs');
    await until(async () => (await holderOf(id)) === undefined);
  };
  const first = await start();
  let second: BerthProcess | undefined;
  try {
    // The sweep waits for this, and so is under way for as long as the test likes.
    await other.query('BEGIN; LOCK TABLE uploads IN SHARE MODE');
    const sweep = await add('sweep-expired-uploads');
    await until(async () => typeof (await holderOf(sweep)) === 'string');
    await client.query(`UPDATE graphile_worker._private_jobs SET locked_at = locked_at - interval '10 minutes'`);
    const runner = await holderOf(sweep);
    await freeJobs();
    expect(await holderOf(sweep)).toBe(runner);

    await first.end('SIGKILL');
    await other.query('ROLLBACK');
    second = await start();
    expect(await holderOf(sweep)).toBe(runner);
    await freeJobs();
    await until(async () => (await holderOf(sweep)) === undefined);
    const { stderr } = second;
    await until(async () => stderr.some((line) => line.includes('ended in the middle of background work')));
  } finally {
    await Promise.all([first.end('SIGKILL'), second?.end('SIGTERM')]);
    await Promise.all([client.end(), other.end()]);
    await facts.drop();
    await data.remove();
  }
});
