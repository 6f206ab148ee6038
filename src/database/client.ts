/** One connection of its own, past the pools: for what holds a session, or must not wait for others. */
import { addAbortListener } from 'node:events';
import pg from 'pg';
import { DatabaseUnavailableError } from './errors.ts';
import { createServers, type Connection } from './servers.ts';
import { unlessAborted } from './unless-aborted.ts';

const connectTimeoutMs = 10_000;
const unaborted = new AbortController().signal;

/**
 * Lends a connection to the server that can be written to, and ends it. Its statements may take as long as they need,
 * whatever was set for the account or the database.
 * @param signal cuts the connection, with what is under way, and is not kept waiting by a server that is silent
 * @throws DatabaseUnavailableError when there is no server
 */
export async function withClient<T>(
  connection: Connection,
  options: { readonly name: string; readonly signal?: AbortSignal | undefined },
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const { name, signal = unaborted } = options;
  signal.throwIfAborted();
  return await unlessAborted(signal, lend(connection, { name, signal }, work));
}

async function lend<T>(
  connection: Connection,
  { name, signal }: { readonly name: string; readonly signal: AbortSignal },
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const server = await createServers(connection, connectTimeoutMs).find();
  signal.throwIfAborted();
  const client = new pg.Client({
    connectionTimeoutMillis: connectTimeoutMs,
    application_name: name,
    keepAlive: true,
    ...server,
  });
  // Unheard, a connection that breaks between two statements would end the process; the next statement fails anyway.
  client.on('error', () => {});
  // With a statement under way this cuts the connection, and PostgreSQL rolls back. Where it is not there yet, `connect` is never
  // heard of again.
  using _listener = addAbortListener(signal, () => void client.end());
  try {
    await client.connect().catch((error: unknown) => {
      throw new DatabaseUnavailableError(
        `the database is not available: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    });
    await client.query('SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0');
    return await work(client);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    await client.end();
  }
}
