/** One PostgreSQL for a whole run of the tests: started before the first file, gone after the last. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { startEmbeddedPostgres } from '../../src/database/embedded/embedded.ts';
import { migrate } from '../../src/database/migrate.ts';
import { migrateJobs } from '../../src/jobs/jobs.ts';
import { createLogger } from '../../src/telemetry/logger.ts';

const template = 'berth_template';

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  const complaints: string[] = [];
  const postgres = await startEmbeddedPostgres({
    dataDir: folder,
    durable: false,
    log: (line) => complaints.push(line),
  });
  const teardown = async (): Promise<void> => {
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const problem = await makeTemplate(postgres.connection, complaints);
    project.provide('postgres', { connection: postgres.connection, template, problem });
  } catch (error) {
    await teardown();
    throw error;
  }
  return teardown;
}

/** A broken migration is the failure of those tests that need a database, not of the others. */
async function makeTemplate(connection: pg.ClientConfig, log: string[]): Promise<string | undefined> {
  const client = new pg.Client(connection);
  await client.connect();
  try {
    await client.query(`CREATE DATABASE ${template}`);
    await migrate({ ...connection, database: template }, { log: (line) => log.push(line) });
    await migrateJobs({ ...connection, database: template }, createLogger({ level: 'silent', format: 'json' }));
    // Nobody can be connected to it, so copies never have to wait.
    await client.query(`ALTER DATABASE ${template} ALLOW_CONNECTIONS false`);
    return undefined;
  } catch (error) {
    return [String(error), ...log].join('\n');
  } finally {
    await client.end();
  }
}
