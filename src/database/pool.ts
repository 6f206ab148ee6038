/**
 * Connections to PostgreSQL. Features take a `Queryer` (the pool or a transaction) and decide themselves where a
 * transaction begins. `pg` and SQLSTATEs stay in this room.
 */
import { openConnections } from './connections.ts';
import { createServers, type Connection } from './servers.ts';
import { answerGraceMs, createQueryer, createTransaction, type Queryer, type Way } from './statements.ts';

export { ConstraintError, DatabaseUnavailableError } from './errors.ts';
export type { Connection } from './servers.ts';
export type { Queryer } from './statements.ts';

export interface Database extends Queryer {
  /**
   * Runs `work` in one READ COMMITTED transaction. Deadlocks and serialization failures are tried again, at most
   * `transactionTriesMax` times, so `work` must have no effects but its statements.
   */
  transaction<T>(work: (queryer: Queryer) => Promise<T>): Promise<T>;
  /** The connections of hot reads: few, and set up so that a batch over arrays always walks the indexes. */
  readonly hot: Queryer;
  /**
   * The same database for work that may take long, as sweeps and deletions of very much: each of its statements has ten
   * minutes instead of `statementMs`.
   */
  readonly patient: Database;
  /** Asks the server for a sign of life, for at most so long. @throws DatabaseUnavailableError */
  ping(msMax: number): Promise<void>;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  readonly connection: Connection;
  /** Connections in the general pool. */
  readonly poolSize: number;
  /** Statements of hot reads under way at once. */
  readonly hotLanes: number;
  readonly limits?: DatabaseLimits;
  /**
   * `transaction`: a pooler stands between, and gives out a connection to PostgreSQL for one transaction at a time. Nothing
   * can be kept on such a connection: no prepared statements, no settings.
   */
  readonly pooler?: 'none' | 'transaction';
  /** Told of every transaction that is tried again. */
  readonly onRetry?: (error: Error, attempt: number) => void;
  /** Told of connections that break while idle. */
  readonly onError?: (reason: string) => void;
}

/** All in milliseconds. */
export interface DatabaseLimits {
  /** For a free connection, or a new one. */
  readonly connectMs: number;
  /** For one statement, with the locks that it waits for. */
  readonly statementMs: number;
  /** A process that is stopped inside a transaction keeps its row locks, and everybody who wants them waiting, no longer than this. */
  readonly idleInTransactionMs: number;
}

export const defaultLimits: DatabaseLimits = { connectMs: 10_000, statementMs: 30_000, idleInTransactionMs: 30_000 };
const transactionTriesMax = 8;
/** Hot reads take a few milliseconds; one that takes longer has been lost, and everybody behind it waits. */
const hotStatementMsMax = 10_000;
const patientStatementMs = 600_000;
/** A plan is as old as its connection, and tables grow: the hot ones are made anew, which costs a few milliseconds. */
const hotPlanSecondsMax = 60;

/**
 * Statements of hot reads are prepared once over arrays whose length the planner cannot know. Left alone it may choose to
 * read a whole table that was empty when the statement was planned; so these connections know index walks only. Behind a
 * pooler each is planned anew, for the arrays as they are, and needs none of this.
 */
const hotSettings = [
  'plan_cache_mode=force_generic_plan',
  'enable_seqscan=off',
  'enable_hashjoin=off',
  'enable_mergejoin=off',
  'enable_bitmapscan=off',
  'jit=off',
]
  .map((setting) => `-c ${setting}`)
  .join(' ');

/** Opens the pools. Connects lazily: the first query finds out whether the server is there. */
export function createDatabase(options: DatabaseOptions): Database {
  const { limits = defaultLimits, pooler = 'none' } = options;
  const bare = pooler === 'transaction';
  const hotStatementMs = Math.min(limits.statementMs, hotStatementMsMax);
  const common = {
    servers: createServers(options.connection, limits.connectMs),
    connectionTimeoutMillis: limits.connectMs,
    onError: (error: Error) => options.onError?.(error.message),
  };
  const connections = openConnections({
    ...common,
    max: options.poolSize,
    ...(!bare && {
      statement_timeout: limits.statementMs,
      idle_in_transaction_session_timeout: limits.idleInTransactionMs,
    }),
  });
  const hotConnections = openConnections({
    ...common,
    max: options.hotLanes,
    maxLifetimeSeconds: hotPlanSecondsMax,
    ...(!bare && { statement_timeout: hotStatementMs, settings: hotSettings }),
  });

  const way = (statementMs: number): Way => ({ named: !bare, answerMs: statementMs + answerGraceMs });
  const sessionSettings = bare ? [`SET LOCAL idle_in_transaction_session_timeout = ${limits.idleInTransactionMs}`] : [];
  const localLimit = (ms: number): string => `SET LOCAL statement_timeout = ${ms}`;
  const transaction = createTransaction(connections, {
    way: way(limits.statementMs),
    settings: bare ? [localLimit(limits.statementMs), ...sessionSettings] : [],
    onRetry: options.onRetry,
    triesMax: transactionTriesMax,
  });
  const patientTransaction = createTransaction(connections, {
    way: way(patientStatementMs),
    settings: [localLimit(patientStatementMs), ...sessionSettings],
    onRetry: options.onRetry,
    triesMax: transactionTriesMax,
  });
  const shared = {
    hot: createQueryer(hotConnections, way(hotStatementMs)),
    async ping(msMax: number) {
      await createQueryer(connections, { named: false, answerMs: msMax }).query('SELECT 1');
    },
    async close() {
      await Promise.all([connections.close(), hotConnections.close()]);
    },
  };
  const patient: Database = {
    ...shared,
    transaction: patientTransaction,
    query: (text, values) => patientTransaction((queryer) => queryer.query(text, values)),
    get patient() {
      return patient;
    },
  };
  return { ...shared, ...createQueryer(connections, way(limits.statementMs)), transaction, patient };
}
