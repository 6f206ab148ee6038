/** What is read from a replica that is behind, held back or away; the replica is a real one, by streaming. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { addAccount } from '../../src/access/accounts.ts';
import { commandLine } from '../../src/access/actor.ts';
import { defaultLimits } from '../../src/database/pool.ts';
import { createReplica, type Replica, type ReplicaOptions } from '../../src/database/replica.ts';
import { pagesOf } from '../support/answers.ts';
import { apiOf, itemsOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { makeImage } from '../support/images.ts';
import { startPgBouncer } from '../support/pgbouncer.ts';
import { startReplicated, type Replicated } from '../support/replicated.ts';
import { titled, whyNot } from '../support/tools.ts';

const patience = { timeout: 20_000, interval: 20 };
let facts: Replicated;
let berth: TestBerth;
let admin: Client;
let adminApi: Api;
beforeAll(async () => {
  facts = await startReplicated();
  berth = await startTestBerth({
    BERTH_DATABASE_URL: facts.primary.url,
    BERTH_DATABASE_REPLICA_URL: facts.replica.url,
  });
  admin = clientOf(berth.url, berth.admin);
  adminApi = await apiOf(berth.url, berth.admin);
});
afterEach(() => facts.replica.resume());
afterAll(async () => {
  await berth?.stop();
  await facts?.stop();
});

async function addUser(username: string): Promise<Login> {
  const login = { username, password: `password of ${username}` };
  await addAccount(facts.primary.database, { ...login, admin: false }, commandLine('test'));
  return login;
}

async function push(names: readonly string[], as: Client = admin): Promise<void> {
  for (const name of names) await as.pushImage(name, 'v1', makeImage());
}

/** What the catalog shows of a namespace. */
async function namesOf(client: Client, namespace: string, n = 100): Promise<string[]> {
  const pages = await pagesOf(client, `/v2/_catalog?n=${n}&last=${namespace}/`);
  const names = pages.map(({ body }) => (body as { repositories: string[] }).repositories);
  for (const page of names.slice(0, -1)) expect(page).toHaveLength(n);
  const all = names.flat();
  expect(all).toEqual([...new Set(all)].toSorted());
  return all.filter((name) => name.startsWith(`${namespace}/`));
}

async function removeRepository(name: string): Promise<void> {
  const path = `/repositories/${name}/-`;
  const plan = await adminApi.delete(`${path}?dry_run=1`);
  expect((await adminApi.delete(path).set('If-Match', plan.headers['etag']!)).status).toBe(200);
}

describe('the catalog', () => {
  test('has what is new as soon as the replica has it', async () => {
    await push(['news/one']);
    await facts.replica.pause();
    await push(['news/two']);
    expect(await namesOf(admin, 'news')).toEqual(['news/one']);
    await facts.replica.resume();
    expect(await namesOf(admin, 'news')).toEqual(['news/one', 'news/two']);
  });

  test('has nothing any more that was taken away, made private, deleted or renamed, whatever the replica says', async () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((word) => `acme/${word}`);
    await push(names);
    const zoe = clientOf(berth.url, await addUser('zoe'));
    for (const name of names.filter((each) => each !== 'acme/b'))
      await adminApi.patch(`/repositories/${name}/-`, { visibility: 'public' });
    const right = '/repositories/acme/b/-/members/users/zoe';
    expect((await adminApi.put(right, { role: 'reader' })).status).toBe(200);
    await facts.replica.caughtUp();
    expect(await namesOf(zoe, 'acme')).toEqual(names);

    await facts.replica.pause();
    expect((await adminApi.delete(right)).status).toBe(204);
    expect((await adminApi.patch('/repositories/acme/c/-', { visibility: 'private' })).status).toBe(200);
    await removeRepository('acme/d');
    expect((await adminApi.post('/repositories/acme/e/-/rename', { to: 'acme/x' })).status).toBe(200);
    const known = await facts.replica.database.query<{ name: string }>(
      `SELECT name FROM repositories WHERE name LIKE 'acme/%' AND visibility = 'public' ORDER BY name`,
    );
    expect(known.map(({ name }) => name)).toEqual(names.filter((each) => each !== 'acme/b'));

    const token = await tokenFor(berth.url, ['registry:catalog:*']);
    const anyone = await clientOf(berth.url).request('get', '/v2/_catalog').auth(token, { type: 'bearer' });
    expect((anyone.body as { repositories: string[] }).repositories).toEqual(['acme/a', 'acme/f', 'acme/g']);
    expect(await namesOf(zoe, 'acme')).toEqual(['acme/a', 'acme/f', 'acme/g']);
    expect(await namesOf(admin, 'acme')).toEqual(['acme/a', 'acme/b', 'acme/c', 'acme/f', 'acme/g']);
    // Whichever server a page came from: the new name may be there already.
    for (const n of [1, 2, 3, 4, 5, 6]) {
      const old = (await namesOf(zoe, 'acme', n)).filter((name) => name !== 'acme/x');
      expect(old, `pages of ${n}`).toEqual(['acme/a', 'acme/f', 'acme/g']);
    }
    await facts.replica.resume();
    expect(await namesOf(zoe, 'acme')).toEqual(['acme/a', 'acme/f', 'acme/g', 'acme/x']);
  });
});

describe('the audit log', () => {
  const targetsOf = async (api: Api, query: string): Promise<string[]> =>
    (await itemsOf<{ target: string }>(api, `/audit?limit=2&${query}`)).map(({ target }) => target);
  const exported = async (api: Api, query: string): Promise<string[]> =>
    (await api.get(`/audit/export?format=ndjson&${query}`)).text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => (JSON.parse(line) as { target: string }).target);

  test('is searched and exported on the replica', async () => {
    const who = 'action=repository.create&who=lea';
    const lea = clientOf(berth.url, await addUser('lea'));
    await push(['lea/one'], lea);
    await facts.replica.pause();
    await push(['lea/two'], lea);
    for (const read of [targetsOf, exported]) expect(await read(adminApi, who)).toEqual(['lea/one']);
    await facts.replica.resume();
    for (const read of [targetsOf, exported]) expect(await read(adminApi, who)).toEqual(['lea/two', 'lea/one']);
  });

  test('shows nothing to whom a right on it was taken from, whatever the replica says', async () => {
    const owner = await apiOf(berth.url, await addUser('otto'));
    await push(['shop/app']);
    expect((await adminApi.put('/namespaces/shop/members/otto', { role: 'owner' })).status).toBe(200);
    await facts.replica.caughtUp();
    const query = 'namespace=shop&action=repository.create';
    for (const read of [targetsOf, exported]) expect(await read(owner, query)).toEqual(['shop/app']);
    await facts.replica.pause();
    expect((await adminApi.delete('/namespaces/shop/members/otto')).status).toBe(200);
    for (const read of [targetsOf, exported]) expect(await read(owner, query)).toEqual([]);
    expect(await targetsOf(adminApi, query)).toEqual(['shop/app']);
  });

  test('goes on at the primary where the last page lies before all that the replica knows', async () => {
    const mia = clientOf(berth.url, await addUser('mia'));
    await push(['mia/one'], mia);
    await facts.replica.pause();
    await push(['mia/two', 'mia/three', 'mia/four'], mia);
    // As somebody has it who was shown the first page while the replica was away.
    const [last] = await facts.primary.database.query<{ at: Date; id: number }>(
      `SELECT at, id FROM audit_log WHERE target = 'mia/four' AND action = 'repository.create'`,
    );
    const cursor = Buffer.from(JSON.stringify([last!.at.toISOString(), last!.id])).toString('base64url');
    const rest = await targetsOf(adminApi, `who=mia&action=repository.create&cursor=${cursor}`);
    expect(rest).toEqual(['mia/three', 'mia/two', 'mia/one']);
  });
});

describe('a replica that is away', () => {
  const said = (from: TestBerth, text: string) => from.logs.filter(({ msg }) => msg === text).length;
  const away = 'the replica cannot be read, so the primary answers';
  const back = 'the replica can be read again';

  test('is not missed, and is read again when it is back', async () => {
    await push(['gone/one']);
    await facts.replica.caughtUp();
    const before = [said(berth, away), said(berth, back)];
    await facts.replica.kill();
    await push(['gone/two']);
    const answers = await Promise.all([1, 2, 3, 4, 5].map(() => namesOf(admin, 'gone')));
    expect(answers).toEqual(Array(5).fill(['gone/one', 'gone/two']));
    expect((await itemsOf<{ target: string }>(adminApi, '/audit?target=gone/two'))[0]).toMatchObject({
      actor: 'admin',
    });
    expect((await admin.request('get', '/readyz')).status).toBe(200);
    expect([said(berth, away), said(berth, back)]).toEqual([before[0]! + 1, before[1]!]);

    await facts.replica.start();
    await facts.replica.pause();
    await push(['gone/three']);
    await vi.waitFor(async () => expect(await namesOf(admin, 'gone')).toEqual(['gone/one', 'gone/two']), patience);
    expect([said(berth, away), said(berth, back)]).toEqual([before[0]! + 1, before[1]! + 1]);
  });

  test('from the beginning keeps nobody from starting', async () => {
    const alone = await startTestBerth({ BERTH_DATABASE_REPLICA_URL: 'postgres:///berth?host=/no/such/folder' });
    try {
      const client = clientOf(alone.url, alone.admin);
      await push(['acme/app'], client);
      for (let n = 0; n < 3; n += 1) expect(await namesOf(client, 'acme')).toEqual(['acme/app']);
      expect((await client.request('get', '/readyz')).status).toBe(200);
      expect([said(alone, away), said(alone, back)]).toEqual([1, 0]);
    } finally {
      await alone.stop();
    }
  });
});

describe('what the primary is to be asked instead', () => {
  const opened: Replica[] = [];
  const reasons: string[] = [];
  function open(options: Partial<ReplicaOptions> = {}): Replica {
    reasons.length = 0;
    const onAway = (reason: string): void => void reasons.push(reason);
    const base = { connection: facts.replica.connection, poolSize: 2, limits: defaultLimits, onAway, onBack() {} };
    const replica = createReplica({ ...base, ...options });
    opened.push(replica);
    return replica;
  }
  afterEach(async () => {
    for (const replica of opened.splice(0)) await replica.close();
  });

  test('is a statement that is in the way of what has to be replayed', async () => {
    const { primary, replica } = facts;
    await primary.database.query('CREATE TABLE held AS SELECT 1 AS n');
    await replica.conflicts('end');
    await replica.caughtUp();
    const read = open().read((reader) =>
      reader.transaction((queryer) => queryer.query('SELECT pg_sleep(60) FROM held')),
    );
    const sleeping = `SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'`;
    await vi.waitFor(async () => expect(await replica.database.query(sleeping)).toHaveLength(1), patience);
    await primary.database.query('DROP TABLE held');
    expect(await read).toBeUndefined();
    expect(reasons).toEqual([expect.stringContaining('conflict with recovery')]);
    await replica.conflicts('wait');
  });

  test('is one about a table that has not arrived', async () => {
    await facts.replica.pause();
    await facts.primary.database.query('CREATE TABLE arriving AS SELECT 1 AS n');
    const replica = open();
    const read = () => replica.read((reader) => reader.query('SELECT n FROM arriving'));
    expect(await read()).toBeUndefined();
    expect(reasons).toEqual([expect.stringContaining('does not exist')]);
    await facts.replica.resume();
    await vi.waitFor(async () => expect(await read()).toEqual([{ n: 1 }]), patience);
  });

  const reason = whyNot('pgbouncer');
  test.skipIf(reason !== undefined)(titled('is nothing more behind PgBouncer', reason), async () => {
    const bouncer = await startPgBouncer(facts.replica.connection, 2);
    try {
      const replica = open({ connection: { connectionString: bouncer.url }, pooler: 'transaction' });
      const settings = `SELECT pg_is_in_recovery() AS replica, current_setting('statement_timeout') AS most`;
      const answers = await Promise.all([
        replica.read((reader) => reader.transaction((queryer) => queryer.query(settings))),
        replica.read((reader) => reader.query(settings)),
      ]);
      expect(answers).toEqual([[{ replica: true, most: '10s' }], [{ replica: true, most: '0' }]]);
      expect([reasons, bouncer.complaints]).toEqual([[], []]);
    } finally {
      await bouncer.stop();
    }
  });
});
