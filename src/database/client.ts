/** One connection of its own, past the pools: for what holds a session, or must not wait for others. */
import pg from 'pg';
import { DatabaseUnavailableError } from './errors.ts';
import { createServers, type Connection } from './servers.ts';

const connectTimeoutMs = 10_000;

/**
 * Lends a connection to the server that can be written to, and ends it. Its statements may take as long as they need,
 * whatever was set for the account or the database.
 * @param signal cuts the connection, with what is under way
 * @throws DatabaseUnavailableError when there is no server
 */
export async function withClient<T>(
  connection: Connection,
  options: { readonly name: string; readonly signal?: AbortSignal | undefined },
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const { name, signal } = options;
  signal?.throwIfAborted();
  const server = await createServers(connection, connectTimeoutMs).find();
  const client = new pg.Client({
    connectionTimeoutMillis: connectTimeoutMs,
    application_name: name,
    keepAlive: true,
    ...server,
  });
  // Unheard, a connection that breaks between two statements would end the process; the next statement fails anyway.
  client.on('error', () => {});
  // With a statement under way this cuts the connection, and PostgreSQL rolls back.
  const onAbort = (): void => void client.end();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    await client.connect().catch((error: unknown) => {
      signal?.throwIfAborted();
      throw new DatabaseUnavailableError(
        `the database is not available: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    });
    await client.query('SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0');
    return await work(client);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await client.end();
  }
}
