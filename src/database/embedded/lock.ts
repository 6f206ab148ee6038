/**
 * The server lock: an advisory lock that a running Berth holds in the embedded PostgreSQL. A server that answers but
 * whose lock nobody holds is an orphan: its Berth died and the kernel could not tell it so.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { user } from './cluster.ts';
import { EmbeddedPostgresError, SocketFolderError, hasCode } from './errors.ts';
import { port } from './socket.ts';

/** What `pg` needs to connect. */
export interface EmbeddedConnection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  readonly ssl: false;
}

/** What answers at a socket: nothing, a server that is starting or stopping, or one that serves (`holder`: the pid of the Berth whose it is). */
export type Answer =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'busy' }
  | { readonly kind: 'serving'; readonly holder: number | undefined };

/** The held lock. */
export interface ServerLock {
  release(): Promise<void>;
}

/** 'bert' in ASCII; the key only has to be ours within a database that nobody else uses. */
const lockKey = 0x62657274;
const applicationPrefix = 'berth server ';
const connectTimeoutMs = 10_000;
const retryMs = 100;

/** The connection of a cluster's database, given where its socket is. */
export function connectionTo(socketFolder: string, database: string): EmbeddedConnection {
  return { host: socketFolder, port, user, database, ssl: false };
}

/** Looks who is there. Rejects only with what time does not heal. @throws EmbeddedPostgresError */
export async function ask(socketFolder: string): Promise<Answer> {
  const client = newClient(socketFolder);
  try {
    await client.connect();
    return { kind: 'serving', holder: await holder(client) };
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ECONNREFUSED')) return { kind: 'nothing' };
    if (isPassing(error)) return { kind: 'busy' };
    if (hasCode(error, 'EACCES', 'EPERM'))
      throw new SocketFolderError(`the database's socket in ${socketFolder} belongs to another user`, { cause: error });
    throw new EmbeddedPostgresError(
      `what answers at the socket in ${socketFolder} is not a database of Berth's in good health: ${String(error)}`,
      { cause: error },
    );
  } finally {
    await client.end().catch(ignore);
  }
}

/**
 * Takes the lock for this process and keeps it until released: a connection that breaks while the server recovers from
 * a crash of its own is made again.
 * @returns the pid of the other Berth when it was quicker
 */
export async function takeServerLock(socketFolder: string): Promise<ServerLock | { readonly holder: number }> {
  const released = new AbortController();
  let client = newClient(socketFolder);
  let keeping: Promise<void> = Promise.resolve();
  const keep = async (): Promise<void> => {
    while (!released.signal.aborted) {
      const next = newClient(socketFolder);
      try {
        await next.connect();
        if (await tryLock(next)) {
          client = next;
          next.once('end', again);
          return;
        }
      } catch {
        // The server is still recovering, or is gone; its end is told elsewhere.
      }
      await next.end().catch(ignore);
      await delay(retryMs, undefined, { signal: released.signal }).catch(ignore);
    }
  };
  const again = (): void => {
    if (!released.signal.aborted) keeping = keep();
  };

  try {
    await client.connect();
    if (!(await tryLock(client))) {
      const other = (await holder(client)) ?? 0;
      await client.end();
      return { holder: other };
    }
  } catch (error) {
    await client.end().catch(ignore);
    throw error;
  }
  client.once('end', again);
  return {
    async release() {
      released.abort();
      await keeping;
      await client.end().catch(ignore);
    },
  };
}

/** Makes Berth's own database if it is not there yet. Only for the holder of the lock. */
export async function ensureDatabase(socketFolder: string, database: string): Promise<void> {
  const client = newClient(socketFolder);
  try {
    await client.connect();
    const found = await client.query('SELECT FROM pg_database WHERE datname = $1', [database]);
    if (found.rowCount === 0) await client.query(`CREATE DATABASE ${pg.escapeIdentifier(database)}`);
  } finally {
    await client.end().catch(ignore);
  }
}

async function tryLock(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ held: boolean }>('SELECT pg_try_advisory_lock($1) AS held', [lockKey]);
  return rows[0]!.held;
}

async function holder(client: pg.Client): Promise<number | undefined> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT a.application_name AS name
       FROM pg_locks l JOIN pg_stat_activity a USING (pid)
      WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = $1 AND l.objsubid = 1
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    [lockKey],
  );
  return rows[0] === undefined ? undefined : Number(rows[0].name.slice(applicationPrefix.length));
}

/** A connection to the database `postgres`, where the lock lives, so that Berth's own can be dropped or used as a template. */
function newClient(socketFolder: string): pg.Client {
  const client = new pg.Client({
    ...connectionTo(socketFolder, 'postgres'),
    application_name: `${applicationPrefix}${process.pid}`,
    connectionTimeoutMillis: connectTimeoutMs,
  });
  // Unheard, a connection that breaks would end the process; `end` follows, and who needs to know listens to that.
  client.on('error', ignore);
  return client;
}

/** Starting up, shutting down, out of connections for the moment, or hung up on. */
function isPassing(error: unknown): boolean {
  return (
    hasCode(error, '57P03', '57P01', '57P02', '53300', 'ECONNRESET', 'EPIPE', 'EAGAIN') ||
    (error instanceof Error && /terminated|timeout/.test(error.message))
  );
}

function ignore(): void {}
