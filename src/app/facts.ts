/** How the house comes to its facts: PostgreSQL, ours or the operator's, migrated, with the pools over it. */
import { hotBatch } from '../access/lookup.ts';
import type { Config } from '../config/config.ts';
import { findEmbeddedPostgres, startEmbeddedPostgres, type PostgresExit } from '../database/embedded/embedded.ts';
import { findCrowding } from '../database/capacity.ts';
import { migrate } from '../database/migrate.ts';
import { createDatabase, type Connection, type Database } from '../database/pool.ts';
import { createReplica, type Replica } from '../database/replica.ts';
import { unlessAborted } from '../database/unless-aborted.ts';
import { workerConnectionsMax } from '../database/worker-pool.ts';
import { migrateJobs } from '../jobs/jobs.ts';
import type { Logger } from '../telemetry/logger.ts';

/** PostgreSQL, ours or the operator's. */
export interface Facts {
  readonly connection: Connection;
  /** Resolves when a server of our own has ended; never for the operator's. */
  readonly exited: Promise<PostgresExit>;
  stop(): Promise<void>;
}

export const never = new Promise<never>(() => undefined);
const unaborted = new AbortController().signal;

export async function openFacts(config: Config, logger: Logger, giveUp: AbortSignal = unaborted): Promise<Facts> {
  if (config.database.urls !== undefined)
    return { connection: serversAt(config.database.urls), exited: never, stop: async () => undefined };
  return startEmbeddedPostgres({
    dataDir: config.dataDir,
    connectionsMax: connectionsMaxOf(config),
    log: (line) => logger.info({ from: 'postgres' }, line),
    signal: giveUp,
  });
}

/** Of a PostgreSQL of our own: what all workers may open, and some for the commands that are run beside them. */
function connectionsMaxOf({ workers, database }: Config): number {
  return Math.max(100, workers * (database.poolSize + 4) + 20);
}

const serversAt = (urls: readonly string[]): Connection => urls.map((connectionString) => ({ connectionString }));

/** Past a pooler, if there is one. */
export function directTo(config: Config, connection: Connection): Connection {
  return config.database.directUrls === undefined ? connection : serversAt(config.database.directUrls);
}

/** The queue's schema too: what is asked for in the first moments, such as a mail, must find a queue to go to. */
export async function migrateAll(
  connection: Connection,
  logger: Logger,
  giveUp: AbortSignal = unaborted,
): Promise<void> {
  await migrate(connection, { log: (line) => logger.info(line), signal: giveUp });
  await unlessAborted(giveUp, migrateJobs(connection, logger));
}

export function openDatabase(config: Config, connection: Connection, logger: Logger): Database {
  return createDatabase({
    connection,
    pooler: config.database.pooler,
    limits: config.database.limits,
    poolSize: config.database.poolSize,
    hotLanes: hotBatch.lanes,
    onRetry: (error, attempt) =>
      logger.info({ attempt, reason: error.message }, 'two transactions met; one is tried again'),
    onError: (reason) => logger.warn({ reason }, 'an idle connection to the database broke'),
  });
}

export function openReplica({ database }: Config, logger: Logger): Replica | undefined {
  const { replicaUrls, pooler, limits, poolSize } = database;
  if (replicaUrls === undefined) return undefined;
  return createReplica({
    connection: serversAt(replicaUrls),
    pooler,
    limits,
    poolSize,
    onAway: (reason) => logger.warn({ reason }, 'the replica cannot be read, so the primary answers'),
    onBack: () => logger.info('the replica can be read again'),
  });
}

/** Does one thing with the migrated database, whether or not a server is running on it. */
export async function withDatabase<T>(
  config: Config,
  logger: Logger,
  work: (database: Database) => Promise<T>,
): Promise<T> {
  const served = config.database.urls === undefined ? await findEmbeddedPostgres(config.dataDir) : undefined;
  const facts =
    served === undefined ? await openFacts(config, logger) : { connection: served, stop: async () => undefined };
  try {
    await migrateAll(directTo(config, facts.connection), logger);
    const database = openDatabase(config, facts.connection, logger);
    try {
      return await work(database);
    } finally {
      await database.close();
    }
  } finally {
    await facts.stop();
  }
}

/** Behind a pooler only the connections past it count. */
export async function warnOfCrowding({ workers, database }: Config, direct: Connection, logger: Logger): Promise<void> {
  const perProcess = (database.pooler === 'none' ? database.poolSize + hotBatch.lanes : 0) + workerConnectionsMax;
  const crowding = await findCrowding(direct, { perProcess, processes: workers });
  if (crowding !== undefined) logger.warn(crowding);
}
