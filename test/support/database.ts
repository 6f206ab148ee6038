/** Databases for tests: each its own, migrated, in the PostgreSQL of this run. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import type { EmbeddedConnection } from '../../src/database/embedded/embedded.ts';

declare module 'vitest' {
  interface ProvidedContext {
    postgres: {
      connection: EmbeddedConnection;
      /** The name of a migrated database that can be copied. */
      template: string;
      /** Why there is no such database. */
      problem: string | undefined;
    };
  }
}

export interface TestDatabase {
  /** What `pg` needs to connect. */
  readonly connection: EmbeddedConnection;
  /** The same for what is configured by `BERTH_DATABASE_URL`. */
  readonly url: string;
  /** Ends its connections and removes it. */
  drop(): Promise<void>;
}

/** A migrated database with nothing in it, or, with `migrated: false`, one without any table. */
export async function createTestDatabase({ migrated = true } = {}): Promise<TestDatabase> {
  const { connection: server, template, problem } = inject('postgres');
  if (migrated && problem !== undefined) throw new Error(`the migrations fail: ${problem}`);
  const database = `test_${randomUUID().replaceAll('-', '')}`;
  await run(server, `CREATE DATABASE ${database} TEMPLATE ${migrated ? template : 'template0'}`);
  const connection = { ...server, database };
  return {
    connection,
    url: `postgres:///${database}?host=${encodeURIComponent(server.host)}&port=${server.port}&user=${server.user}`,
    drop: () => run(server, `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`),
  };
}

async function run(connection: pg.ClientConfig, statement: string): Promise<void> {
  const client = new pg.Client(connection);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
