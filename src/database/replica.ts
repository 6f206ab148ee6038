/**
 * A replica of the database, which may be behind: for listings and searches, which read much and may miss what has only just
 * happened. What it says about who may see what may be behind, too, so that is always decided on the primary.
 */
import { openConnections, type Connections } from './connections.ts';
import type { DatabaseLimits, DatabaseOptions } from './pool.ts';
import { createServers, type Connection } from './servers.ts';
import { answerGraceMs, createQueryer, createTransaction, type Queryer, type Transaction } from './statements.ts';

/** What reads take that may go to either: the primary is one, too. */
export interface Reader extends Queryer {
  readonly transaction: Transaction;
}

export interface Replica {
  /**
   * Reads what the replica knows. Whatever goes wrong there is no failure of the read: for some seconds nobody waits for the
   * replica, and a read that comes after them is tried on it behind the answer of the primary.
   * @param read may run more than once, at the same time, and must only read
   * @returns undefined while the replica cannot be read: then the primary is to be asked
   */
  read<T>(read: (reader: Reader) => Promise<T>): Promise<T | undefined>;
  close(): Promise<void>;
}

export interface ReplicaOptions {
  /** One replica, or several that are as good as each other. */
  readonly connection: Connection;
  /** Connections at once. */
  readonly poolSize: number;
  readonly limits: DatabaseLimits;
  /** What the connections lead to, as with the primary. */
  readonly pooler?: DatabaseOptions['pooler'];
  /** Told when reads go to the primary from now on. */
  readonly onAway: (reason: string) => void;
  /** Told when they no longer do. */
  readonly onBack: () => void;
}

/** The primary can answer as well, so nobody waits long for a connection. */
const connectMsMax = 5000;
/** The same for a statement; and while one runs the primary cannot remove old rows, where replicas have `hot_standby_feedback`. */
const statementMsMax = 10_000;
/** Between two looks whether a replica that was away can be read again. */
const pauseMs = 2000;

/** Connects lazily. */
export function createReplica(options: ReplicaOptions): Replica {
  const { connections, reader } = open(options);
  let away = false;
  let trying = false;
  let nextTryAt = 0;

  async function tryAgain(read: (reader: Reader) => Promise<unknown>): Promise<void> {
    trying = true;
    try {
      await read(reader);
      away = false;
      options.onBack();
    } catch {
      // Told when it began.
      nextTryAt = performance.now() + pauseMs;
    } finally {
      trying = false;
    }
  }

  return {
    async read(read) {
      if (away) {
        if (!trying && performance.now() >= nextTryAt) void tryAgain(read);
        return undefined;
      }
      try {
        return await read(reader);
      } catch (error) {
        // All that were under way fail, and one is enough to tell of it.
        if (!away) {
          away = true;
          nextTryAt = performance.now() + pauseMs;
          options.onAway(error instanceof Error ? error.message : String(error));
        }
        return undefined;
      }
    },
    close: () => connections.close(),
  };
}

function open({ connection, poolSize, limits, pooler }: ReplicaOptions): { connections: Connections; reader: Reader } {
  const bare = pooler === 'transaction';
  const connectMs = Math.min(limits.connectMs, connectMsMax);
  const statementMs = Math.min(limits.statementMs, statementMsMax);
  const connections = openConnections({
    servers: createServers(connection, connectMs, 'reading'),
    connectionTimeoutMillis: connectMs,
    max: poolSize,
    // The next read finds out, and tells.
    onError: () => undefined,
    ...(!bare && {
      statement_timeout: statementMs,
      idle_in_transaction_session_timeout: limits.idleInTransactionMs,
      settings: '-c default_transaction_read_only=on',
    }),
  });
  const way = { named: !bare, answerMs: statementMs + answerGraceMs };
  const settings = [
    'SET TRANSACTION READ ONLY',
    `SET LOCAL statement_timeout = ${statementMs}`,
    `SET LOCAL idle_in_transaction_session_timeout = ${limits.idleInTransactionMs}`,
  ];
  // A statement in the way of what the replica has to replay is ended, and would be again.
  const transaction = createTransaction(connections, { way, settings: bare ? settings : [], triesMax: 1 });
  return { connections, reader: { ...createQueryer(connections, way), transaction } };
}
