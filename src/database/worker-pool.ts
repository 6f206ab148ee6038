/** The connections of the background runner, which speaks to PostgreSQL through a pool of its own. */
import { callbackify } from 'node:util';
import pg from 'pg';

export interface WorkerPool {
  readonly pool: pg.Pool;
  /** Ends every connection, also those that are in use. Idempotent. */
  close(): Promise<void>;
}

/** One listens for new jobs, the other one fetches and finishes them. Beyond BERTH_DATABASE_POOL_SIZE and the hot lanes. */
export const workerConnectionsMax = 2;
/** Longer than the runner's pause between two looks for jobs, or each look would open a connection of its own. */
const idleTimeoutMs = 60_000;
const keepAliveMs = 10_000;
/** What a server that ends a statement at its limit has to say so. */
const answerGraceMs = 2000;

/**
 * The runner gives its listening connection back twice when that breaks while the runner stops; `pg` throws at the second
 * time, nobody awaits the runner there, and the process would end.
 */
class ForgivingPool extends pg.Pool {
  override connect(): Promise<pg.PoolClient>;
  override connect(callback: ConnectCallback): void;
  override connect(callback?: ConnectCallback): Promise<pg.PoolClient> | void {
    if (callback === undefined) return super.connect();
    super.connect((error, client, release) => {
      if (client === undefined) return callback(error, client, release);
      let released = false;
      callback(error, client, (reason) => {
        if (!released) release(reason);
        released = true;
      });
    });
  }
}

type ConnectCallback = (
  error: Error | undefined,
  client: pg.PoolClient | undefined,
  release: (reason?: boolean | Error) => void,
) => void;

export interface WorkerPoolOptions {
  /** As it stands in pg_stat_activity. */
  readonly name: string;
  readonly connectMs: number;
  /** For one statement; 0 is no limit. What a server that is silent leaves without an answer fails a little later. */
  readonly statementMs: number;
}

/** Connects lazily. A connection that breaks is replaced when the next one is needed. */
export function createWorkerPool(
  server: pg.ClientConfig,
  { name, connectMs, statementMs }: WorkerPoolOptions,
): WorkerPool {
  const pool = new ForgivingPool({
    ...server,
    application_name: name,
    // The listening connection never asks anything by which it could find out that its server is gone.
    keepAlive: true,
    keepAliveInitialDelayMillis: keepAliveMs,
    query_timeout: statementMs === 0 ? undefined : statementMs + answerGraceMs,
    // No parameter of the start: whatever stands between might refuse it, and no limit has to be said, too.
    verify: callbackify(async (client: pg.PoolClient): Promise<void> => {
      await client.query(`SET statement_timeout = ${statementMs}`);
    }),
    max: workerConnectionsMax,
    connectionTimeoutMillis: connectMs,
    idleTimeoutMillis: idleTimeoutMs,
  });
  const clients = new Set<pg.PoolClient>();
  // Unheard, a broken connection would end the process; whoever uses it next hears of it anyway.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => {
    clients.add(client);
    client.on('error', () => undefined);
  });
  pool.on('remove', (client) => clients.delete(client));
  async function close(): Promise<void> {
    const ended = pool.end();
    // What the pool has not ended is in use: with a statement under way this cuts the connection.
    for (const client of clients) void client.end();
    await ended;
  }
  let closed: Promise<void> | undefined;
  return { pool, close: () => (closed ??= close()) };
}
