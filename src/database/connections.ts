/** Pooled connections to one of the servers, whichever is the right one at the moment. */
import { callbackify } from 'node:util';
import pg from 'pg';
import { translate } from './errors.ts';
import { checkWritable, type Servers } from './servers.ts';

export interface Connections {
  /** Lends a connection, and drops it afterwards when it was marked as lost. @throws DatabaseUnavailableError when there is none */
  use<T>(work: (connection: Connection) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface ConnectionsOptions extends pg.PoolConfig {
  readonly servers: Servers;
  /** As `options` of the start of a session has them; beside those of the operator's URL. */
  readonly settings?: string | undefined;
  /** Told of connections that break while idle. */
  readonly onError: (error: Error) => void;
}

/** A connection of a pool, which knows where it leads. */
class Connection extends pg.Client {
  readonly server: pg.ClientConfig;
  /** Set by whoever finds it broken, or silent. */
  lost = false;
  constructor({ servers, settings, ...config }: ConnectionsOptions) {
    const server = servers.current;
    super({ ...server, ...withSettings(server, settings), ...config });
    this.server = server;
  }
}
export type { Connection };

/** Connects lazily. */
export function openConnections(options: ConnectionsOptions): Connections {
  const { servers, onError } = options;
  const pool = new pg.Pool({
    application_name: 'berth',
    keepAlive: true,
    ...options,
    // Made by the pool, with these very options.
    Client: Connection as unknown as new () => pg.ClientBase,
    verify: servers.checked ? callbackify(checkWritable) : undefined,
  });
  let closing = false;
  pool.on('error', (error) => {
    // An embedded server that stops tells its last connections so, after we have let go of them.
    if (!closing) onError(error);
  });
  // Unheard, a connection that breaks on its way to whoever asked for it, or between two statements, would end the
  // process; the next statement fails anyway, and the pool keeps no broken connection.
  pool.on('connect', (client) => client.on('error', () => undefined));

  async function take(): Promise<Connection & pg.PoolClient> {
    for (let searched = false; ;) {
      try {
        const connection = (await pool.connect()) as Connection & pg.PoolClient;
        if (connection.server === servers.current) return connection;
        // It leads to a server that was given up for another one.
        connection.release(true);
      } catch (error) {
        if (searched || !servers.several) throw translate(error);
        searched = true;
        await servers.find();
      }
    }
  }
  return {
    async use(work) {
      const connection = await take();
      try {
        return await work(connection);
      } finally {
        connection.release(connection.lost);
      }
    },
    async close() {
      closing = true;
      await pool.end();
    },
  };
}

/** `pg` lets the `options` of a URL replace all others. */
function withSettings({ connectionString, options }: pg.ClientConfig, settings: string | undefined): pg.ClientConfig {
  if (settings === undefined) return {};
  if (connectionString === undefined) return { options: joined(options, settings) };
  const url = new URL(connectionString);
  url.searchParams.set('options', joined(url.searchParams.get('options'), settings));
  return { connectionString: url.href };
}

const joined = (theirs: string | null | undefined, ours: string): string =>
  [theirs ?? '', ours].filter((each) => each !== '').join(' ');
