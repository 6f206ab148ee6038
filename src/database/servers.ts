/**
 * Which server of PostgreSQL to speak to, where several are named: the one that can be written to, or, of replicas, the one
 * that answers first. When it fails the others are asked; what an operator or a tool of theirs promotes is found without a restart.
 */
import pg from 'pg';
import { DatabaseUnavailableError, translate } from './errors.ts';

/** How to reach PostgreSQL: one server, or several, of which one can be written to unless they are replicas. Plain data. */
export type Connection = pg.ClientConfig | readonly pg.ClientConfig[];

export interface Servers {
  /** The one that was found last. */
  readonly current: pg.ClientConfig;
  /** Whether there is another one to look for when this one fails. */
  readonly several: boolean;
  /** Whether a server has to prove that it can be written to. */
  readonly checked: boolean;
  /**
   * The server that is wanted, which is the current one from then on. All are asked at once, so that a silent one costs
   * nothing while another one answers. Without a question where there is only one, and nobody wants it checked.
   * @throws DatabaseUnavailableError when there is none
   */
  find(): Promise<pg.ClientConfig>;
}

/** For one statement that any server answers at once. */
const checkMsMax = 5000;

/** @param purpose whether they are to be written to, or all are replicas, which are only read */
export function createServers(
  connection: Connection,
  connectTimeoutMs: number,
  purpose: 'writing' | 'reading' = 'writing',
): Servers {
  const servers = Array.isArray(connection)
    ? (connection as readonly pg.ClientConfig[])
    : [connection as pg.ClientConfig];
  const several = servers.length > 1;
  const checked = purpose === 'writing' && (several || wantsPrimary(servers[0]!));
  let current = servers[0]!;
  let finding: Promise<pg.ClientConfig> | undefined;

  async function find(): Promise<pg.ClientConfig> {
    if (!several && !checked) return current;
    const asked = servers.map((server) => ask(server, connectTimeoutMs, checked));
    try {
      current = await Promise.any(asked);
      return current;
    } catch (error) {
      const reasons = (error as AggregateError).errors.map(
        (each: unknown, i) => `${nameOf(servers[i]!)}: ${String(each)}`,
      );
      const wanted = checked ? 'server of the database can be written to' : 'replica of the database answers';
      throw new DatabaseUnavailableError(`no ${wanted} (${reasons.join('; ')})`, { cause: error });
    }
  }
  return {
    get current() {
      return current;
    },
    several,
    checked,
    find: () => (finding ??= find().finally(() => (finding = undefined))),
  };
}

/** @throws DatabaseUnavailableError when the server that `client` is connected to is a standby, or was made read-only */
export async function checkWritable(client: pg.ClientBase): Promise<void> {
  const query = { text: 'SHOW transaction_read_only', query_timeout: checkMsMax };
  const { rows } = await client.query<{ transaction_read_only: string }>(query);
  if (rows[0]!.transaction_read_only !== 'off') throw new DatabaseUnavailableError('it can only be read');
}

async function ask(server: pg.ClientConfig, connectTimeoutMs: number, checked: boolean): Promise<pg.ClientConfig> {
  const client = new pg.Client({
    connectionTimeoutMillis: connectTimeoutMs,
    application_name: 'berth',
    ...server,
  });
  // Unheard, a connection that breaks between two steps would end the process; the next step fails anyway.
  client.on('error', () => undefined);
  try {
    await client.connect();
    if (checked) await checkWritable(client);
    return server;
  } catch (error) {
    throw translate(error);
  } finally {
    void client.end();
  }
}

/** As libpq understands it: https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS */
function wantsPrimary({ connectionString }: pg.ClientConfig): boolean {
  if (connectionString === undefined) return false;
  const kind = new URL(connectionString).searchParams.get('target_session_attrs');
  return kind === 'read-write' || kind === 'primary';
}

/** Without its password. */
function nameOf(server: pg.ClientConfig): string {
  const { host, port } = new pg.Client(server);
  return `${host}:${port}`;
}
