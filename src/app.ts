/** The composition root: the only file that knows every room. Plain wiring, no container. */
import { addAbortListener } from 'node:events';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { addAccount, ensureAdmin } from './access/accounts.ts';
import { commandLine } from './access/actor.ts';
import { createApiAuthenticator } from './access/api-authenticate.ts';
import { createAuthenticator } from './access/authenticate.ts';
import { deleteExpiredIdempotencyKeys } from './access/idempotency.ts';
import { createNoteFailure } from './access/failed-sign-ins.ts';
import { createSigningKeys } from './access/keys.ts';
import { createLastUse } from './access/last-use.ts';
import { createRateLimits } from './access/limits/limits.ts';
import { siteOf, sweepLinksAndSessions } from './access/links.ts';
import { sweepRateLimits } from './access/limits/sweep.ts';
import { createLookup, hotBatch } from './access/lookup.ts';
import { generatePassword } from './access/passwords.ts';
import { tendSigningKeys } from './access/signing-keys.ts';
import { createProofs } from './access/proofs.ts';
import { createTokenService } from './access/token-service.ts';
import { createAccessTokens } from './access/tokens.ts';
import type { Config } from './config/config.ts';
import { findEmbeddedPostgres, startEmbeddedPostgres, type PostgresExit } from './database/embedded/embedded.ts';
import { findCrowding } from './database/capacity.ts';
import { migrate } from './database/migrate.ts';
import { createDatabase, type Connection, type Database } from './database/pool.ts';
import { createReplica, type Replica } from './database/replica.ts';
import { workerConnectionsMax } from './database/worker-pool.ts';
import { createAuthenticateApi } from './http/api/authenticate.ts';
import { createOnDenied } from './http/api/denied.ts';
import { apiOperations } from './http/api/operations.ts';
import { createApiRouter } from './http/api/router.ts';
import { expireAudit } from './events/audit-expiry.ts';
import { createDeniedRecorder } from './events/denied.ts';
import { createExpress } from './http/express.ts';
import type { DataPlane } from './http/oci/data-plane.ts';
import { createOciHandler } from './http/oci/handler.ts';
import { checkMsMax, createOpsRouter } from './http/ops/router.ts';
import { createOrigins } from './http/origin.ts';
import { listen } from './http/server.ts';
import { createTokenRouter, tokenPath } from './http/token/router.ts';
import { migrateJobs, startJobs, type Jobs } from './jobs/jobs.ts';
import { createTasks } from './jobs/tasks.ts';
import { createBlobs } from './registry/blobs.ts';
import { createCatalog } from './registry/catalog.ts';
import { createCommitBlob } from './registry/commit-blob.ts';
import { copyStorage, type CopyProgress } from './registry/copy-storage.ts';
import { createListings } from './registry/listings.ts';
import { createManifests } from './registry/manifests.ts';
import { createPushManifest } from './registry/push-manifest.ts';
import { createRepositories } from './registry/repositories.ts';
import { createSweep } from './registry/sweep.ts';
import { createLeases } from './registry/upload-lease.ts';
import { createPlaces } from './registry/upload-place.ts';
import { createUploads } from './registry/uploads.ts';
import { openStore, openStores } from './storage/open.ts';
import type { BlobStore } from './storage/port.ts';
import type { Logger } from './telemetry/logger.ts';

/** PostgreSQL, ours or the operator's. */
interface Facts {
  readonly connection: Connection;
  /** Resolves when a server of our own has ended; never for the operator's. */
  readonly exited: Promise<PostgresExit>;
  stop(): Promise<void>;
}

const never = new Promise<never>(() => undefined);
const unaborted = new AbortController().signal;

/** The outcome of the work, or the signal's reason as soon as that is aborted: nobody waits for the work any more then. */
export async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  using _listener = addAbortListener(signal, () => aborted.reject(signal.reason));
  return await Promise.race([work, aborted.promise]);
}

async function openFacts(config: Config, logger: Logger, giveUp: AbortSignal = unaborted): Promise<Facts> {
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
function directTo(config: Config, connection: Connection): Connection {
  return config.database.directUrls === undefined ? connection : serversAt(config.database.directUrls);
}

/** The queue's schema too: what is asked for in the first moments, such as a mail, must find a queue to go to. */
async function migrateAll(connection: Connection, logger: Logger, giveUp: AbortSignal = unaborted): Promise<void> {
  await migrate(connection, { log: (line) => logger.info(line), signal: giveUp });
  await unlessAborted(giveUp, migrateJobs(connection, logger));
}

function openDatabase(config: Config, connection: Connection, logger: Logger): Database {
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

function openReplica({ database }: Config, logger: Logger): Replica | undefined {
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

/** Behind a pooler only the connections past it count. */
async function warnOfCrowding({ workers, database }: Config, direct: Connection, logger: Logger): Promise<void> {
  const perProcess = (database.pooler === 'none' ? database.poolSize + hotBatch.lanes : 0) + workerConnectionsMax;
  const crowding = await findCrowding(direct, { perProcess, processes: workers });
  if (crowding !== undefined) logger.warn(crowding);
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
    await unlessAborted(giveUp, store.start());
    closers.push(() => store.close());
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
export async function startBerth(config: Config, logger: Logger, giveUp = unaborted): Promise<RunningBerth> {
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

async function serveHttp(
  config: Config,
  logger: Logger,
  { database, replica }: { readonly database: Database; readonly replica: Replica | undefined },
  store: BlobStore,
) {
  const service = config.publicUrl?.host ?? 'berth';
  const origins = createOrigins(config);
  const { gcReviewDelayHours: reviewDelayHours, limits } = config;

  const keys = createSigningKeys(database);
  const tokens = createAccessTokens(keys, {
    service,
    ttlSeconds: config.tokens.ttlSeconds,
    clockSkewSeconds: config.tokens.clockSkewSeconds,
  });
  const lastUse = createLastUse(database, (error) =>
    logger.warn({ err: error }, 'the last use of some credentials could not be written'),
  );
  const denied = createDeniedRecorder(database, logger);
  const rateLimits = createRateLimits({ database, settings: config.rateLimits, logger });
  const noteFailure = createNoteFailure({ database, denied });
  const { signIn } = rateLimits;
  const authenticator = createAuthenticator({ database, tokens, lastUse, signIn, noteFailure });
  const lookup = createLookup(database);
  const tokenService = createTokenService({
    database,
    lookup,
    tokens,
    lastUse,
    rateLimits,
    refreshTtlDays: config.tokens.refreshTtlDays,
  });

  const repositories = createRepositories(database, config.defaultVisibility);
  const commitBlob = createCommitBlob({ database, store, repositories, reviewDelayHours });
  const leases = createLeases(database, limits.uploadLeaseSeconds);
  const places = createPlaces(store, limits.blobBytesMax);
  const plane: DataPlane = {
    authenticator,
    lookup,
    repositories,
    blobs: createBlobs({ database, store, repositories, reviewDelayHours, cache: config.cache }),
    uploads: createUploads({ database, store, leases, places, commitBlob, limits }),
    manifests: createManifests({ database, reviewDelayHours, cacheBytes: config.cache.manifestBytes }),
    pushManifest: createPushManifest({ database, repositories, sparse: config.sparseManifests, reviewDelayHours }),
    listings: createListings(database),
    catalog: createCatalog(database, replica),
    rateLimits,
    denied,
    limits,
    redirect: config.storage.s3?.redirect,
  };

  const oci = createOciHandler({ plane, origins, logger, tokenPath, service });
  let stopping = false;
  const routers = [
    createOpsRouter({
      checkDatabase: () => database.ping(checkMsMax),
      checkStorage: () => store.ping(checkMsMax),
      stopping: () => stopping,
      onAway: (dependency, err) =>
        logger.warn({ dependency, err }, 'not ready: something that Berth stands on is away'),
    }),
    createTokenRouter({ authenticator, tokenService, keys, origins, logger, bodyBytesMax: limits.requestBodyBytesMax }),
    createApiRouter({
      operations: apiOperations({
        config,
        database,
        replica,
        lookup,
        repositories,
        rateLimits,
        proofs: createProofs({ database, authenticator, signIn, noteFailure }),
      }),
      database,
      authenticateApi: createAuthenticateApi(createApiAuthenticator({ database, authenticator, lookup, lastUse })),
      origins,
      logger,
      bodyBytesMax: limits.requestBodyBytesMax,
      onDenied: createOnDenied({ database, denied }),
    }),
  ];
  const server = await listen(
    { oci, rest: createExpress(routers, logger), tls: config.tls, logger, limits },
    config.listen,
  );
  return {
    port: server.port,
    async stop() {
      stopping = true;
      await server.stop();
      await Promise.all([lastUse.close(), rateLimits.close(), denied.stop()]);
    },
  };
}

function serveJobs(config: Config, logger: Logger, connection: Connection, database: Database, store: BlobStore): Jobs {
  const { uploadExpiryHours, shutdownGraceSeconds } = config.limits;
  const sweep = createSweep({ database, store, uploadExpiryHours });
  const tasks = createTasks({
    sweep,
    expireAudit: (signal) => expireAudit(database, config.auditRetentionDays, signal),
    sweepRateLimits: (signal) => sweepRateLimits(database, config.rateLimits.knownAddressDays, signal),
    sweepIdempotencyKeys: () => deleteExpiredIdempotencyKeys(database),
    tendSigningKeys: () => tendSigningKeys(database, config.tokens.signingKeyRotationDays),
    sweepLinksAndSessions: (signal) => sweepLinksAndSessions(database, signal),
    requests: { database, mode: config.registration, site: siteOf(config) },
    mail: config.mail,
    logger,
  });
  return startJobs({ connection, tasks, logger, limits: config.database.limits, shutdownGraceSeconds });
}
