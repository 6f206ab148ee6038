/** Two Berths on one PostgreSQL and one S3, each by a gate of its own, behind nginx: what many people push to at once. */
import path from 'node:path';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import { spawnBerth, type BerthProcess, type Login } from './berth.ts';
import { createTestDatabase } from './database.ts';
import { createGate, type Gate } from './gate.ts';
import { startNginx, type Nginx } from './nginx.ts';
import { startS3Server } from './s3-server.ts';

/** Not the address whose ports the system gives to anybody: who comes back finds the port free. */
const listenHost = '127.0.0.2';
/** The least that the setting allows: a test waits it out. */
const leaseSeconds = 5;
const bucket = 'replicas';

export interface Replica {
  readonly database: Gate;
  readonly s3: Gate;
  /** The one that runs, or ran last. */
  readonly berth: BerthProcess;
  /** Where it answers itself, without nginx. */
  readonly url: string;
  /** Ends the process, if it runs. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null>;
  /** Starts it where it was before. */
  start(): Promise<void>;
}

export interface Replicas {
  readonly each: readonly [Replica, Replica];
  readonly nginx: Nginx;
  readonly admin: Login;
  /** Past all gates. */
  readonly facts: Database;
  /** What S3 has on its disk, as `S3Server.stored` says it. */
  stored(): Promise<string[]>;
  stop(): Promise<void>;
}

/** @param settings `BERTH_*` variables of both */
export async function startReplicas(settings: Readonly<Record<string, string>>): Promise<Replicas> {
  const [facts, s3] = await Promise.all([createTestDatabase(), startS3Server()]);
  await s3.makeBucket(bucket);
  const { connection } = facts;
  const database = createDatabase({ connection, poolSize: 2, hotLanes: 1 });

  async function startReplica(): Promise<Replica & { close(): Promise<void> }> {
    const gates = {
      database: await createGate({ path: path.join(connection.host, `.s.PGSQL.${connection.port}`) }),
      s3: await createGate({ host: '127.0.0.1', port: Number(new URL(s3.url).port) }),
    };
    const start = (port: number): Promise<BerthProcess> =>
      spawnBerth({
        ...s3.settings(bucket),
        BERTH_S3_ENDPOINT: `http://${gates.s3.host}`,
        BERTH_DATABASE_URL: `postgres://${connection.user}@${gates.database.host}/${connection.database}`,
        BERTH_LISTEN: `${listenHost}:${port}`,
        BERTH_TRUSTED_PROXIES: '127.0.0.1',
        BERTH_UPLOAD_LEASE_SECONDS: String(leaseSeconds),
        ...settings,
      });
    let berth = await start(0);
    let isUp = true;
    async function end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
      if (!isUp) return null;
      isUp = false;
      return berth.end(signal);
    }
    return {
      ...gates,
      get berth() {
        return berth;
      },
      url: `http://${listenHost}:${berth.port}`,
      end,
      async start() {
        berth = await start(berth.port);
        isUp = true;
      },
      async close() {
        for (const gate of Object.values(gates)) gate.release();
        await end('SIGKILL');
        await Promise.all(Object.values(gates).map((gate) => gate.close()));
      },
    };
  }

  const each = await Promise.all([startReplica(), startReplica()]);
  const nginx = await startNginx(each.map(({ url }) => new URL(url).host));
  return {
    each,
    nginx,
    admin: each[0].berth.admin,
    facts: database,
    stored: () => s3.stored(bucket),
    async stop() {
      await nginx.stop();
      await Promise.all(each.map((replica) => replica.close()));
      await database.close();
      await Promise.all([facts.drop(), s3.stop()]);
    },
  };
}

/** How many requests for addresses with this text the replica's process has answered. */
export function answered({ berth }: Replica, text: string): number {
  return berth.stderr.filter((line) => line.includes('"answered"') && line.includes(text)).length;
}
