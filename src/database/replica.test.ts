import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createDatabaseProxy } from '../../test/support/database-proxy.ts';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { defaultLimits, type Connection, type DatabaseLimits } from './pool.ts';
import { createReplica, type Replica } from './replica.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

let facts: TestDatabase;
beforeEach(async () => {
  facts = await createTestDatabase();
  closers.push(() => facts.drop());
});

interface Told {
  readonly away: string[];
  back: number;
}

function open(connection: Connection, told: Told, limits: Partial<DatabaseLimits> = {}): Replica {
  const replica = createReplica({
    connection,
    poolSize: 4,
    limits: { ...defaultLimits, ...limits },
    onAway: (reason) => told.away.push(reason),
    onBack: () => (told.back += 1),
  });
  closers.push(() => replica.close());
  return replica;
}

const name = 'SELECT current_database() AS name';
const readName = (replica: Replica) => replica.read((reader) => reader.query<{ name: string }>(name));
const answer = () => [{ name: facts.connection.database }];

test('it is read, alone or in a transaction, and nothing else', async () => {
  const told: Told = { away: [], back: 0 };
  const replica = open({ connectionString: facts.url }, told);
  const mode = `SELECT current_setting('transaction_read_only') AS mode`;
  expect(await replica.read((reader) => reader.query(mode))).toEqual([{ mode: 'on' }]);
  expect(await replica.read((reader) => reader.transaction((queryer) => queryer.query(mode)))).toEqual([
    { mode: 'on' },
  ]);
  expect(told.away).toEqual([]);
  expect(await replica.read((reader) => reader.query('CREATE TABLE proof (name text)'))).toBeUndefined();
  expect(told.away).toEqual([expect.stringContaining('read-only transaction')]);
});

test('while it is away nobody waits for it, and both ends of that are told once', async () => {
  const proxy = await createDatabaseProxy(facts.connection);
  closers.push(() => proxy.close());
  const told: Told = { away: [], back: 0 };
  const replica = open(proxy.connection, told);
  expect(await readName(replica)).toEqual(answer());
  await proxy.cut();
  expect(await Promise.all([1, 2, 3, 4].map(() => readName(replica)))).toEqual(Array(4).fill(undefined));
  expect(await readName(replica)).toBeUndefined();
  await proxy.join();
  await vi.waitFor(async () => expect(await readName(replica)).toEqual(answer()), { timeout: 20_000, interval: 20 });
  expect(await Promise.all([1, 2, 3, 4].map(() => readName(replica)))).toEqual(Array(4).fill(answer()));
  expect([told.away.length, told.back]).toEqual([1, 1]);
});

test('one that takes connections and says nothing is waited for once', async () => {
  const host = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  closers.push(() => rm(host, { recursive: true, force: true }));
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    closers.push(async () => socket.destroy());
  });
  closers.push(async () => server.close());
  server.listen(path.join(host, '.s.PGSQL.5432'));
  await once(server, 'listening');
  const told: Told = { away: [], back: 0 };
  const replica = open({ ...facts.connection, host, port: 5432 }, told, { connectMs: 200 });
  expect(await readName(replica)).toBeUndefined();
  for (let n = 0; n < 50; n += 1) expect(await readName(replica)).toBeUndefined();
  expect(told.away).toHaveLength(1);
  // However slow the machine: it is asked again every two seconds.
  expect(connections).toBeLessThan(10);
});

test('a statement that takes too long is left to the primary', async () => {
  const told: Told = { away: [], back: 0 };
  const replica = open(facts.connection, told, { statementMs: 500 });
  expect(await replica.read((reader) => reader.query('SELECT pg_sleep(60)'))).toBeUndefined();
  expect(told.away).toEqual([expect.stringContaining('statement timeout')]);
});

test('of several any that answers is read', async () => {
  const dead = { ...facts.connection, host: path.join(tmpdir(), 'berth-no-such-folder') };
  const told: Told = { away: [], back: 0 };
  expect(await readName(open([dead, facts.connection], told))).toEqual(answer());
  expect(told.away).toEqual([]);
  expect(await readName(open([dead, dead], told))).toBeUndefined();
  expect(told.away).toEqual([expect.stringMatching(/no replica of the database answers .*ENOENT/)]);
});
