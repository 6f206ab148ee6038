/** A PostgreSQL with a replica of it by streaming, which can be held back, killed, and started again. */
import { execFile } from 'node:child_process';
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, vi } from 'vitest';
import {
  startEmbeddedPostgres,
  type EmbeddedConnection,
  type EmbeddedPostgres,
} from '../../src/database/embedded/embedded.ts';
import { createDatabase, type Database } from '../../src/database/pool.ts';

export interface Replicated {
  readonly primary: { readonly url: string; readonly database: Database };
  readonly replica: {
    readonly url: string;
    readonly connection: EmbeddedConnection;
    readonly database: Database;
    /** Until it knows all that the primary knows now. */
    caughtUp(): Promise<void>;
    /** Holds it where the primary is now: it goes on receiving, and shows nothing of it. */
    pause(): Promise<void>;
    resume(): Promise<void>;
    /** From now on it ends at once, or (as at first) never, what is in the way of what it replays. */
    conflicts(how: 'end' | 'wait'): Promise<void>;
    /** As `kill -9`. */
    kill(): Promise<void>;
    /** Starts it again; it is not paused. */
    start(): Promise<void>;
  };
  stop(): Promise<void>;
}

const patience = { timeout: 20_000, interval: 10 };

/** With an empty database, whose replica has caught up. */
export async function startReplicated(): Promise<Replicated> {
  const closers: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const close of closers.splice(0).toReversed()) await close();
  };
  const newFolder = async (): Promise<string> => {
    const folder = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
    closers.push(() => rm(folder, { recursive: true, force: true }));
    return folder;
  };
  const start = (dataDir: string): Promise<EmbeddedPostgres> =>
    startEmbeddedPostgres({ dataDir, durable: false, sharedBuffersMib: 16, log: () => undefined });
  const open = (connection: EmbeddedConnection): Database => {
    const database = createDatabase({ connection, poolSize: 2, hotLanes: 1 });
    closers.push(() => database.close());
    return database;
  };
  try {
    const [ours, theirs] = [await newFolder(), await newFolder()];
    const made = await start(ours);
    await made.stop();
    await copyCluster(ours, theirs, made.connection);
    const server = await start(ours);
    closers.push(() => server.stop());
    let standby = await start(theirs);
    closers.push(() => standby.stop());
    const [primary, replica] = [open(server.connection), open(standby.connection)];
    const replicated: Replicated = {
      primary: { url: urlOf(server.connection), database: primary },
      replica: {
        url: urlOf(standby.connection),
        connection: standby.connection,
        database: replica,
        ...holdOf(primary, replica),
        async kill() {
          const [pid] = (await readFile(path.join(theirs, 'postgres', 'postmaster.pid'), 'utf8')).split('\n');
          process.kill(Number(pid), 'SIGKILL');
          await standby.exited;
        },
        async start() {
          standby = await start(theirs);
        },
      },
      stop,
    };
    await replicated.replica.caughtUp();
    return replicated;
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Of a server that does not run. https://www.postgresql.org/docs/18/warm-standby.html#STANDBY-SERVER-SETUP */
async function copyCluster(from: string, to: string, primary: EmbeddedConnection): Promise<void> {
  // With its owners: PostgreSQL may run as another user than we do.
  await promisify(execFile)('cp', ['-a', `${path.join(from, 'postgres')}/`, path.join(to, 'postgres')]);
  await writeFile(path.join(to, 'postgres', 'standby.signal'), '');
  await appendFile(
    path.join(to, 'postgres', 'postgresql.auto.conf'),
    `primary_conninfo = 'host=${primary.host} port=${primary.port} user=${primary.user}'
wal_retrieve_retry_interval = '50ms'
max_standby_streaming_delay = -1
`,
  );
}

type Hold = Pick<Replicated['replica'], 'caughtUp' | 'pause' | 'resume' | 'conflicts'>;

function holdOf(primary: Database, replica: Database): Hold {
  const one = async (from: Database, expression: string, values: unknown[] = []): Promise<unknown> =>
    (await from.query<{ value: unknown }>(`SELECT ${expression} AS value`, values))[0]!.value;
  const caughtUp = async (): Promise<void> => {
    const there = await one(primary, 'pg_current_wal_lsn()::text');
    const reached = 'pg_last_wal_replay_lsn() >= $1::text::pg_lsn';
    await vi.waitFor(async () => expect(await one(replica, reached, [there])).toBe(true), patience);
  };
  return {
    caughtUp,
    async pause() {
      await caughtUp();
      await replica.query('SELECT pg_wal_replay_pause()');
      await vi.waitFor(async () => {
        // It looks up when something comes.
        await primary.query(`SELECT pg_logical_emit_message(true, 'test', '')`);
        expect(await one(replica, 'pg_get_wal_replay_pause_state()')).toBe('paused');
      }, patience);
    },
    async resume() {
      await replica.query('SELECT pg_wal_replay_resume()');
      await caughtUp();
    },
    async conflicts(how) {
      const wanted = how === 'end' ? '0' : '-1';
      await replica.query(`ALTER SYSTEM SET max_standby_streaming_delay = ${wanted}`);
      await replica.query('SELECT pg_reload_conf()');
      const setting = `current_setting('max_standby_streaming_delay')`;
      await vi.waitFor(async () => expect(await one(replica, setting)).toBe(wanted), patience);
    },
  };
}

const urlOf = ({ host, port, user, database }: EmbeddedConnection): string =>
  `postgres:///${database}?host=${encodeURIComponent(host)}&port=${port}&user=${user}`;
