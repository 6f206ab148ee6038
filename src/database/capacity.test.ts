import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { findCrowding } from './capacity.ts';

let facts: TestDatabase;
let client: pg.Client;
beforeEach(async () => {
  facts = await createTestDatabase({ migrated: false });
  client = new pg.Client({ ...facts.connection, application_name: 'berth jobs' });
  await client.connect();
  await client.query(`ALTER DATABASE ${facts.connection.database} CONNECTION LIMIT 20`);
});
afterEach(async () => {
  await client.end();
  await facts.drop();
});

test('what fits needs no word', async () => {
  expect(await findCrowding(facts.connection, { perProcess: 14, processes: 1 })).toBeUndefined();
  expect(await findCrowding(facts.connection, { perProcess: 10, processes: 2 })).toBeUndefined();
});

test('too many processes, and those that are there already, are named in one sentence', async () => {
  expect(await findCrowding(facts.connection, { perProcess: 14, processes: 2 })).toBe(
    'PostgreSQL has room for 20 connections, and Berth may open 28 (2 processes with 14 each): ' +
      'lower BERTH_DATABASE_POOL_SIZE, raise max_connections, or use a pooler',
  );
  await client.query('LISTEN "jobs:insert"');
  expect(await findCrowding(facts.connection, { perProcess: 14, processes: 1 })).toContain('may open 28 (2 processes');
});

test('the server has its own limit', async () => {
  await client.query(`ALTER DATABASE ${facts.connection.database} CONNECTION LIMIT -1`);
  expect(await findCrowding(facts.connection, { perProcess: 14, processes: 1 })).toBeUndefined();
  expect(await findCrowding(facts.connection, { perProcess: 14, processes: 1000 })).toContain('may open 14000');
});
