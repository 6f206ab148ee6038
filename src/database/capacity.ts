/** Whether all connections that Berth may open fit into what the server lets in. */
import { withClient } from './client.ts';
import type { Connection } from './servers.ts';

export interface Demand {
  /** The most connections to PostgreSQL of one process. */
  readonly perProcess: number;
  /** Processes that are about to be started. */
  readonly processes: number;
}

/** Every process listens for jobs, on one connection, whatever else it has open at the moment. */
const facts = `
  SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true), '0')::int
         - (SELECT count(*)::int FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND application_name NOT LIKE 'berth%') AS server,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role,
    (SELECT count(*)::int FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'berth jobs' AND query LIKE 'LISTEN%') AS processes`;

/** -1: no limit. */
interface Facts {
  readonly server: number;
  readonly database: number;
  readonly role: number;
  readonly processes: number;
}

/**
 * Supposes that the processes that are there already have the same settings.
 * @returns one sentence for the operator; undefined where everything fits
 * @throws DatabaseUnavailableError
 */
export async function findCrowding(connection: Connection, demand: Demand): Promise<string | undefined> {
  return withClient(connection, { name: 'berth start' }, async (client) => {
    const { rows } = await client.query<Facts>(facts);
    const { server, database, role, processes: there } = rows[0]!;
    const room = Math.min(server, ...[database, role].filter((limit) => limit >= 0));
    const processes = there + demand.processes;
    const wanted = processes * demand.perProcess;
    if (wanted <= room) return undefined;
    return (
      `PostgreSQL has room for ${room} connections, and Berth may open ${wanted} (${processes} processes with ` +
      `${demand.perProcess} each): lower BERTH_DATABASE_POOL_SIZE, raise max_connections, or use a pooler`
    );
  });
}
