/** How statements go out on the connections of a pool, alone and in transactions, and how their answers come back. */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Connection, Connections } from './connections.ts';
import { ConflictError, DatabaseUnavailableError, translate } from './errors.ts';

/** Runs statements: the pool itself or an open transaction. */
export interface Queryer {
  /**
   * Runs one statement, prepared once per connection. Arrays and Buffers are passed as PostgreSQL's arrays and bytea.
   * @throws DatabaseUnavailableError when the server cannot be reached or goes away, ConstraintError when a constraint refuses
   */
  query<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>;
}

/** What a server that ends a statement at its limit has to say so; then it is gone, or cannot be reached. */
export const answerGraceMs = 2000;

// Identities and sizes are below 2^53; as numbers they compare and add without surprises.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/** How statements go out. */
export interface Way {
  /** Prepared once per connection, under a name. */
  readonly named: boolean;
  /** How long their answer may take; then the connection is given up. */
  readonly answerMs: number;
}

export function createQueryer(connections: Connections, way: Way): Queryer {
  return { query: (text, values) => connections.use((lent) => run(lent, way, text, values)) };
}

/** Runs `work` in one READ COMMITTED transaction. */
export type Transaction = <T>(work: (queryer: Queryer) => Promise<T>) => Promise<T>;

export interface TransactionParts {
  readonly way: Way;
  /** Statements that set what is to hold within it. */
  readonly settings: readonly string[];
  /** Told of every one that is tried again. */
  readonly onRetry?: ((error: Error, attempt: number) => void) | undefined;
  /** How often one is tried that meets others. */
  readonly triesMax: number;
}

export function createTransaction(connections: Connections, parts: TransactionParts): Transaction {
  const { way, settings, onRetry, triesMax } = parts;
  const begin = ['BEGIN', ...settings].join('; ');
  return async (work) => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await connections.use((lent) => once(lent, way, begin, work));
      } catch (error) {
        if (!(error instanceof ConflictError) || attempt >= triesMax) throw error;
        onRetry?.(error, attempt);
        // Jitter, so that two that met do not meet again.
        await delay(Math.random() * 5 * 2 ** attempt);
      }
    }
  };
}

async function once<T>(lent: Connection, way: Way, begin: string, work: (queryer: Queryer) => Promise<T>): Promise<T> {
  // Several statements in one go cannot be prepared.
  const plainly = { ...way, named: false };
  try {
    await run(lent, plainly, begin);
    const result = await work({ query: (text, values) => run(lent, way, text, values) });
    await run(lent, plainly, 'COMMIT');
    return result;
  } catch (error) {
    // Where the connection is lost PostgreSQL rolls back by itself.
    if (!lent.lost) await run(lent, plainly, 'ROLLBACK').catch(() => undefined);
    throw error;
  }
}

async function run<Row extends object>(
  lent: Connection,
  { named, answerMs }: Way,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  try {
    const query = {
      text,
      values: values as unknown[],
      query_timeout: answerMs,
      ...(named && { name: preparedName(text) }),
    };
    const result = await lent.query<Row>(query);
    return result.rows;
  } catch (thrown) {
    const error = translate(thrown);
    if (error instanceof DatabaseUnavailableError) lent.lost = true;
    throw error;
  }
}

const preparedNames = new Map<string, string>();

function preparedName(text: string): string {
  let name = preparedNames.get(text);
  if (name === undefined) {
    name = createHash('sha256').update(text).digest('base64url').slice(0, 22);
    preparedNames.set(text, name);
  }
  return name;
}
