/** A real PgBouncer in transaction mode, before the PostgreSQL of the tests. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { vi } from 'vitest';
import type { EmbeddedConnection } from '../../src/database/embedded/embedded.ts';
import { createDatabaseProxy } from './database-proxy.ts';

export interface PgBouncer {
  /** The database through it, for `BERTH_DATABASE_URL`. */
  readonly url: string;
  /** What it complained of. */
  readonly complaints: readonly string[];
  stop(): Promise<void>;
}

const port = 6432;
/** Debian's `nobody`. */
const nobody = 65_534;

/** @param serverConnections at most so many to PostgreSQL, however many clients there are */
export async function startPgBouncer(database: EmbeddedConnection, serverConnections: number): Promise<PgBouncer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  // It refuses to be root, and nobody else may enter the folder of PostgreSQL's socket.
  const way = await createDatabaseProxy(database);
  const server = way.connection.host;
  await chmod(server, 0o755);
  await chmod(path.join(server, `.s.PGSQL.${database.port}`), 0o777);
  const file = path.join(folder, 'pgbouncer.ini');
  await writeFile(
    file,
    `[databases]
${database.database} = host=${server} port=${database.port} user=${database.user}
[pgbouncer]
listen_addr =
listen_port = ${port}
unix_socket_dir = ${folder}
auth_type = any
pool_mode = transaction
default_pool_size = ${serverConnections}
max_client_conn = 100
`,
  );
  const root = process.getuid?.() === 0;
  if (root) for (const each of [folder, file]) await chown(each, nobody, nobody);
  const child = spawn('pgbouncer', [file], {
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(root && { uid: nobody, gid: nobody }),
  });
  const said: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => said.push(line));
  const exited = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGQUIT');
    await exited;
    await way.close();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await vi.waitFor(() => reach(path.join(folder, `.s.PGSQL.${port}`)), { timeout: 20_000, interval: 20 });
  } catch (cause) {
    await stop();
    throw new Error(`PgBouncer did not come up:\n${said.join('\n')}`, { cause });
  }
  return {
    url: `postgres:///${database.database}?host=${encodeURIComponent(folder)}&port=${port}&user=${database.user}`,
    get complaints() {
      return said.filter((line) => / (WARNING|ERROR|FATAL) /.test(line) || line.includes('pooler error'));
    },
    stop,
  };
}

async function reach(socketPath: string): Promise<void> {
  const socket = connect(socketPath);
  await once(socket, 'connect');
  socket.destroy();
}
