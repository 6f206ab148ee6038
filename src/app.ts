/** The composition root, with what is in `app/`: only these files know every room. Plain wiring, no container. */
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { addAccount, ensureAdmin } from './access/accounts.ts';
import { commandLine } from './access/actor.ts';
import { generatePassword } from './access/passwords.ts';
import {
  directTo,
  migrateAll,
  never,
  openDatabase,
  openFacts,
  openReplica,
  warnOfCrowding,
  withDatabase,
} from './app/facts.ts';
import { serveHttp } from './app/http.ts';
import { serveJobs } from './app/jobs.ts';
import type { Config } from './config/config.ts';
import type { Connection, Database } from './database/pool.ts';
import { unlessAborted } from './database/unless-aborted.ts';
import { copyStorage, type CopyProgress } from './registry/copy-storage.ts';
import { openStore, openStores } from './storage/open.ts';
import type { Logger } from './telemetry/logger.ts';

/** Moves all blobs to the storage of the settings from the one before it, while servers may be running. @throws the signal's reason */
export async function copyBlobs(
  config: Config,
  logger: Logger,
  numbers: { readonly concurrency: number; readonly keepHours: number },
  onProgress: (progress: CopyProgress) => void,
  signal: AbortSignal,
): Promise<CopyProgress> {
  const { current, previous } = await openStores(config);
  if (previous === undefined) throw new Error('BERTH_STORAGE_PREVIOUS is not set');
  try {
    for (const store of [current, previous]) await store.start();
    return await withDatabase(config, logger, (database) =>
      copyStorage({ database, from: previous, to: current, ...numbers }, onProgress, signal),
    );
  } finally {
    await Promise.all([current.close(), previous.close()]);
  }
}

/** Brings the schema to this version. */
export async function runMigrations(config: Config, logger: Logger): Promise<void> {
  await withDatabase(config, logger, async () => undefined);
}

/** Adds an account. @returns the password where it was generated. @throws AccountError */
export async function addUser(
  config: Config,
  logger: Logger,
  user: { username: string; password?: string; admin: boolean },
): Promise<{ password?: string }> {
  const generated = user.password === undefined ? generatePassword() : undefined;
  await withDatabase(config, logger, (database) =>
    addAccount(
      database,
      { username: user.username, password: user.password ?? generated!, admin: user.admin },
      commandLine('berth user add'),
    ),
  );
  return generated === undefined ? {} : { password: generated };
}

/** What all processes of one Berth stand on: the database with its schema and its administrator. */
export interface Foundation {
  /** For {@link startServing}; plain data, so that another process can be told. */
  readonly connection: Connection;
  readonly adminUsername: string;
  /** Only at the start that made the account, and only when the password was generated. */
  readonly generatedPassword: string | undefined;
  /** The file that keeps a generated password, if there is one. */
  readonly passwordFile: string | undefined;
  /** Resolves with the reason when the registry cannot go on by itself. */
  readonly failed: Promise<string>;
  /** Stops the embedded PostgreSQL. */
  stop(): Promise<void>;
}

/**
 * Starts the embedded PostgreSQL if it is wanted, and makes the database what this version and the settings ask for.
 * @param giveUp ends the start early, with everything stopped again; must not be aborted afterwards
 * @throws the signal's reason
 */
export async function layFoundation(config: Config, logger: Logger, giveUp: AbortSignal): Promise<Foundation> {
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  const facts = await openFacts(config, logger, giveUp);
  try {
    const direct = directTo(config, facts.connection);
    await migrateAll(direct, logger, giveUp);
    await unlessAborted(giveUp, warnOfCrowding(config, direct, logger));
    const admin = await unlessAborted(giveUp, prepareAdmin(config, openDatabase(config, facts.connection, logger)));
    return {
      ...admin,
      connection: facts.connection,
      adminUsername: config.admin.username,
      failed: facts.exited.then((exit) => (exit.expected ? never : `PostgreSQL ended by itself: ${exit.reason}`)),
      stop: () => facts.stop(),
    };
  } catch (error) {
    await facts.stop();
    throw error;
  }
}

/** A process that accepts connections. */
export interface Serving {
  readonly host: string;
  readonly port: number;
  /** Stops accepting and finishes what runs. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts everything that stands on the foundation, in the order in which it depends on each other; what was started is stopped
 * again when a later step fails, or the signal says to give up.
 * @throws the signal's reason
 */
export async function startServing(
  config: Config,
  logger: Logger,
  connection: Connection,
  giveUp: AbortSignal,
): Promise<Serving> {
  const closers: (() => Promise<void>)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).toReversed()) await close();
  };
  try {
    const database = openDatabase(config, connection, logger);
    closers.push(() => database.close());
    const replica = openReplica(config, logger);
    closers.push(async () => replica?.close());
    const store = await openStore(config);
    closers.push(() => store.close());
    await unlessAborted(giveUp, store.start());
    giveUp.throwIfAborted();
    const server = await serveHttp(config, logger, { database, replica }, store);
    // Not waited for: requests can be answered before the background is at work.
    const jobs = serveJobs(config, logger, directTo(config, connection), database.patient, store);
    closers.push(async () => void (await Promise.all([server.stop(), jobs.stop()])));
    let stopped: Promise<void> | undefined;
    return { host: config.listen.host, port: server.port, stop: () => (stopped ??= closeAll()) };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** A registry that accepts connections. */
export interface RunningBerth extends Omit<Foundation, 'connection'>, Serving {
  /** Stops accepting, finishes what runs, stops the embedded PostgreSQL. Idempotent. */
  stop(): Promise<void>;
}

/** A whole Berth in this process. @param giveUp as for {@link layFoundation} */
export async function startBerth(
  config: Config,
  logger: Logger,
  giveUp: AbortSignal = new AbortController().signal,
): Promise<RunningBerth> {
  const foundation = await layFoundation(config, logger, giveUp);
  try {
    const serving = await startServing(config, logger, foundation.connection, giveUp);
    let stopped: Promise<void> | undefined;
    const stop = async (): Promise<void> => {
      await serving.stop();
      await foundation.stop();
    };
    return { ...foundation, ...serving, stop: () => (stopped ??= stop()) };
  } catch (error) {
    await foundation.stop();
    throw error;
  }
}

/**
 * The administrator of the settings. A generated password is on disk before the account is made, or it could be lost
 * between the two. Closes the database.
 */
async function prepareAdmin(
  config: Config,
  database: Database,
): Promise<{ generatedPassword: string | undefined; passwordFile: string | undefined }> {
  const { username, password, passwordFile: file } = config.admin;
  let generated: string | undefined;
  const generate = async (): Promise<string> => {
    generated = generatePassword();
    await writeFile(file, `${generated}\n`, { mode: 0o600, flush: true });
    await chmod(file, 0o600);
    return generated;
  };
  try {
    await ensureAdmin(database, username, password, generate);
  } finally {
    await database.close();
  }
  // A password of the settings is the account's from now on; one that was generated once would only mislead.
  if (password !== undefined) await rm(file, { force: true });
  const kept = password === undefined && (await readFile(file, 'utf8').catch(() => undefined)) !== undefined;
  return { generatedPassword: generated, passwordFile: kept ? file : undefined };
}
