/**
 * Connections to PostgreSQL. Features take a `Queryer` (the pool or a transaction) and decide themselves where a
 * transaction begins. `pg` and SQLSTATEs stay in this room.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { createHash } from 'node:crypto';
import pg from 'pg';

/** Runs statements: the pool itself or an open transaction. */
export interface Queryer {
  /**
   * Runs one statement, prepared once per connection. Arrays and Buffers are passed as PostgreSQL's arrays and bytea.
   * @throws DatabaseUnavailableError when the server cannot be reached or goes away, ConstraintError when a constraint refuses
   */
  query<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>;
}

/** PostgreSQL cannot be reached, or went away in the middle. What was under way may or may not have been committed. */
export class DatabaseUnavailableError extends Error {
  override readonly name = 'DatabaseUnavailableError';
}

/** A constraint of the schema refused a row; `constraint` is its name. */
export class ConstraintError extends Error {
  override readonly name = 'ConstraintError';
  readonly constraint: string;
  constructor(constraint: string, cause: unknown) {
    super(`the database refused a row: ${constraint}`, { cause });
    this.constraint = constraint;
  }
}

/** Two transactions met; PostgreSQL ended this one and it can be tried again. Never leaves `transaction`, except when tries run out. */
class ConflictError extends Error {
  override readonly name = 'ConflictError';
}

export interface Database extends Queryer {
  /**
   * Runs `work` in one READ COMMITTED transaction. Deadlocks and serialization failures are tried again, at most
   * `transactionTriesMax` times, so `work` must have no effects but its statements.
   */
  transaction<T>(work: (queryer: Queryer) => Promise<T>): Promise<T>;
  /** The connections of hot reads: few, and set up so that a batch over arrays always walks the indexes. */
  readonly hot: Queryer;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  readonly connection: pg.ClientConfig;
  /** Connections in the general pool. */
  readonly poolSize: number;
  /** Statements of hot reads under way at once. */
  readonly hotLanes: number;
  /** Told of every transaction that is tried again. */
  readonly onRetry?: (error: Error, attempt: number) => void;
  /** Told of connections that break while idle. */
  readonly onError?: (reason: string) => void;
}

const transactionTriesMax = 8;
const connectTimeoutMs = 10_000;
/** A process that is stopped inside a transaction keeps its row locks, and everybody who wants them waiting, no longer than this. */
const idleInTransactionMs = 30_000;
/** A plan is as old as its connection, and tables grow: the hot ones are made anew, which costs a few milliseconds. */
const hotPlanSecondsMax = 60;

// Identities and sizes are below 2^53; as numbers they compare and add without surprises.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

const preparedNames = new Map<string, string>();

function preparedName(text: string): string {
  let name = preparedNames.get(text);
  if (name === undefined) {
    name = createHash('sha256').update(text).digest('base64url').slice(0, 22);
    preparedNames.set(text, name);
  }
  return name;
}

async function run<Row extends object>(
  target: pg.Pool | pg.PoolClient,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  try {
    const result = await target.query<Row>({ name: preparedName(text), text, values: values as unknown[] });
    return result.rows;
  } catch (error) {
    throw translate(error);
  }
}

function translate(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  if (code === '40001' || code === '40P01') return new ConflictError(error.message, { cause: error });
  if (code?.startsWith('23') === true && 'constraint' in error && typeof error.constraint === 'string')
    return new ConstraintError(error.constraint, error);
  // FATAL ends a connection, or refuses one: the database is being renamed or restored (3D000), the password was changed.
  const fatal = 'severity' in error && error.severity === 'FATAL';
  const gone = code === undefined ? !(error instanceof TypeError) : fatal || /^(08|28|3D|53|57P|E[A-Z])/.test(code);
  if (gone) return new DatabaseUnavailableError(`the database is not available: ${error.message}`, { cause: error });
  return error;
}

/**
 * Statements of hot reads are prepared once over arrays whose length the planner cannot know. Left alone it may choose to
 * read a whole table that was empty when the statement was planned; so these connections know index walks only.
 */
const hotSettings = [
  'plan_cache_mode=force_generic_plan',
  'enable_seqscan=off',
  'enable_hashjoin=off',
  'enable_mergejoin=off',
  'enable_bitmapscan=off',
  'jit=off',
];

/** Opens the pools. Connects lazily: the first query finds out whether the server is there. */
export function createDatabase(options: DatabaseOptions): Database {
  const common = {
    ...options.connection,
    connectionTimeoutMillis: connectTimeoutMs,
    idle_in_transaction_session_timeout: idleInTransactionMs,
    application_name: 'berth',
  };
  const pool = new pg.Pool({ ...common, max: options.poolSize });
  const hotPool = new pg.Pool({
    ...common,
    max: options.hotLanes,
    maxLifetimeSeconds: hotPlanSecondsMax,
    options: hotSettings.map((setting) => `-c ${setting}`).join(' '),
  });
  let closing = false;
  const onIdleError = (error: Error): void => {
    // An embedded server that stops tells its last connections so, after we have let go of them.
    if (!closing) options.onError?.(error.message);
  };
  for (const each of [pool, hotPool]) {
    each.on('error', onIdleError);
    // Unheard, a connection that breaks on its way to whoever asked for it, or between two statements, would end the
    // process; the next statement fails anyway, and the pool keeps no broken connection.
    each.on('connect', (client) => client.on('error', () => undefined));
  }

  return {
    query: (text, values) => run(pool, text, values),
    hot: { query: (text, values) => run(hotPool, text, values) },
    async transaction(work) {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await once(pool, work);
        } catch (error) {
          if (!(error instanceof ConflictError) || attempt >= transactionTriesMax) throw error;
          options.onRetry?.(error, attempt);
          // Jitter, so that two that met do not meet again.
          await delay(Math.random() * 5 * 2 ** attempt);
        }
      }
    },
    async close() {
      closing = true;
      await Promise.all([pool.end(), hotPool.end()]);
    },
  };
}

async function once<T>(pool: pg.Pool, work: (queryer: Queryer) => Promise<T>): Promise<T> {
  const client = await pool.connect().catch((error: unknown) => {
    throw translate(error);
  });
  let broken: Error | undefined;
  try {
    await run(client, 'BEGIN');
    const result = await work({ query: (text, values) => run(client, text, values) });
    await run(client, 'COMMIT');
    return result;
  } catch (error) {
    await run(client, 'ROLLBACK').catch((rollbackError: unknown) => {
      broken = rollbackError as Error;
    });
    throw error;
  } finally {
    client.release(broken);
  }
}
