/**
 * The PostgreSQL that Berth brings along: a real server, a child process of ours, reachable over one unix socket in a
 * folder that only its owner can enter (so no password), durable like any other PostgreSQL.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Cluster, findCluster, prepareCluster, readPostmasterFile, removePartialClusters } from './cluster.ts';
import { AnotherBerthError, DiskFullError, StartFailedError, saysDiskFull } from './errors.ts';
import { type EmbeddedConnection, type ServerLock, ask, connectionTo, ensureDatabase, takeServerLock } from './lock.ts';
import { type PostgresExit, type PostgresProcess, type ServerSettings, startServer, stopOrphan } from './server.ts';
import { checkSocketFolder, prepareSocketFolder } from './socket.ts';

export type { EmbeddedConnection } from './lock.ts';
export type { PostgresExit } from './server.ts';

export interface EmbeddedPostgresOptions {
  /** Absolute. The cluster lives in `${dataDir}/postgres`. */
  readonly dataDir: string;
  /** Told, line by line, what an operator may want to know: what PostgreSQL complains of, and where its data is. */
  readonly log: (line: string) => void;
  /** Gives up a start that is under way, and stops a server that runs. */
  readonly signal?: AbortSignal;
  /** PostgreSQL's `shared_buffers`, in MiB. */
  readonly sharedBuffersMib?: number;
  /** PostgreSQL's `max_connections`: for all processes that are told of this server. */
  readonly connectionsMax?: number;
  /** False gives up fsync: for tests only, a crash of the machine then destroys the data. */
  readonly durable?: boolean;
}

/** A running server. It ends with this process, however this process ends. */
export interface EmbeddedPostgres {
  readonly connection: EmbeddedConnection;
  /** Resolves when the server has ended, by `stop` (`expected`) or by itself. Never rejects. */
  readonly exited: Promise<PostgresExit>;
  /** Ends open connections and the server, in well under a minute. Idempotent. */
  readonly stop: () => Promise<void>;
}

const database = 'berth';
const sharedBuffersMibDefault = 128;
const connectionsMaxDefault = 100;
/** How long a start waits for orphans of a crash to end, or for a recovery after one that does not show its end. */
const startPatienceMs = 60_000;
/** How long a server that answers may be without a holder of its lock: its Berth may be about to take it. */
const lockGraceMs = 2_000;
const pollMs = 10;
const retryMs = 100;

/**
 * Starts PostgreSQL on `${dataDir}/postgres`, which is made if it is not there, and holds the lock that keeps a second
 * Berth out until it is stopped. Must be called from the main thread.
 * @throws EmbeddedPostgresError with one sentence for the operator; AnotherBerthError when the data folder is in use
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { dataDir, log, durable = true } = options;
  const { sharedBuffersMib = sharedBuffersMibDefault, connectionsMax = connectionsMaxDefault } = options;
  const signal = options.signal ?? new AbortController().signal;
  signal.throwIfAborted();
  const cluster = await prepareCluster(dataDir, { log, signal, durable });
  const settings = { sharedBuffersMib, connectionsMax, durable };
  const serving = await bringUp({ dataDir, cluster, settings, log, signal }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw error;
  });
  const { server, lock, socketFolder } = serving;

  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopping ??= lock.release().then(() => server.stop()));
  const onAbort = (): void => void stop();
  signal.addEventListener('abort', onAbort, { once: true });
  void server.exited.then(() => {
    signal.removeEventListener('abort', onAbort);
    return lock.release();
  });
  try {
    await ensureDatabase(socketFolder, database);
    await removePartialClusters(dataDir, cluster);
    signal.throwIfAborted();
  } catch (error) {
    await stop();
    signal.throwIfAborted();
    if (saysDiskFull([String(error), ...server.lines()])) throw diskFull(cluster);
    throw error;
  }
  return { connection: connectionTo(socketFolder, database), exited: server.exited, stop };
}

/**
 * The connection to an embedded PostgreSQL that another process is serving from this data folder; undefined when there
 * is none.
 * @throws DataFolderError, SocketFolderError
 */
export async function findEmbeddedPostgres(dataDir: string): Promise<EmbeddedConnection | undefined> {
  const cluster = await findCluster(dataDir);
  const file = cluster && (await readPostmasterFile(cluster.path));
  if (cluster === undefined || file === undefined) return undefined;
  const answer = await ask(file.socketFolder);
  if (answer.kind !== 'serving' || answer.holder === undefined) return undefined;
  await checkSocketFolder(file.socketFolder, cluster.uid);
  return connectionTo(file.socketFolder, database);
}

/** What a start is about. */
interface Start {
  readonly dataDir: string;
  readonly cluster: Cluster;
  readonly settings: ServerSettings;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

interface Serving {
  readonly server: PostgresProcess;
  readonly lock: ServerLock;
  readonly socketFolder: string;
}

/** Until a server of ours serves and its lock is ours: waits for orphans to end, and ends those that do not know that they are orphans. */
async function bringUp(about: Start): Promise<Serving> {
  const { dataDir, cluster, signal } = about;
  const deadline = Date.now() + startPatienceMs;
  let orphanSince: number | undefined;
  let said: readonly string[] = [];
  for (;;) {
    const socketFolder = await prepareSocketFolder(cluster.path, cluster.account);
    const answer = await ask(socketFolder);
    signal.throwIfAborted();
    if (answer.kind === 'serving') {
      if (answer.holder !== undefined) throw new AnotherBerthError(dataDir, answer.holder);
      orphanSince ??= Date.now();
      if (Date.now() - orphanSince >= lockGraceMs) await stopOrphan(cluster.path);
    } else {
      orphanSince = undefined;
    }
    if (answer.kind === 'nothing') {
      const attempt = await tryServer(about, socketFolder);
      if ('server' in attempt) return attempt;
      said = attempt.said;
    }
    if (Date.now() >= deadline)
      throw new StartFailedError(
        `PostgreSQL did not start on ${cluster.path} within ${startPatienceMs / 1000} s, another one still holds it`,
        said,
      );
    await delay(retryMs, undefined, { signal });
  }
}

/** One attempt; returns what PostgreSQL said when what stood in its way passes with time. */
async function tryServer(about: Start, socketFolder: string): Promise<Serving | { readonly said: readonly string[] }> {
  const { dataDir, cluster, settings, log, signal } = about;
  const early: string[] = [];
  let isUp = false;
  const server = await startServer(cluster, socketFolder, settings, (line) => (isUp ? log(line) : early.push(line)));
  try {
    const ready = await untilReady(server, cluster, socketFolder, signal);
    if (!ready) {
      if (isHeldByOther(server.lines())) return { said: server.lines() };
      if (saysDiskFull(server.lines())) throw diskFull(cluster);
      throw new StartFailedError(`PostgreSQL could not be started on ${cluster.path}`, [
        ...server.lines(),
        (await server.exited).reason.split(' | ', 1)[0]!,
      ]);
    }
    const lock = await takeServerLock(socketFolder);
    if ('holder' in lock) throw new AnotherBerthError(dataDir, lock.holder);
    isUp = true;
    for (const line of early) log(line);
    return { server, lock, socketFolder };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** True when the server answers, false when it has ended. A recovery takes as long as it takes. */
async function untilReady(
  server: PostgresProcess,
  cluster: Cluster,
  socketFolder: string,
  signal: AbortSignal,
): Promise<boolean> {
  let hasEnded = false;
  void server.exited.then(() => {
    hasEnded = true;
  });
  while (!hasEnded) {
    signal.throwIfAborted();
    const answer = await ask(socketFolder);
    // Another start may have been quicker, and the answer its server's; then ours is about to end.
    if (answer.kind === 'serving' && (await readPostmasterFile(cluster.path))?.pid === server.pid) return true;
    await delay(pollMs, undefined, { signal });
  }
  return false;
}

/** An orphan that is still ending, or its last processes, or another start at this very moment. */
function isHeldByOther(lines: readonly string[]): boolean {
  return lines.some((line) => /lock file ".*" (already exists|is empty)|pre-existing shared memory block/.test(line));
}

function diskFull(cluster: Cluster): DiskFullError {
  return new DiskFullError(`no room is left for the database in ${cluster.path}: free some and start again`);
}
