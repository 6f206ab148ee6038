/** Two Berths on one database: what is taken from somebody at one is gone at the other, and what is counted is counted once. */
import supertest from 'supertest';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addAccount } from '../../src/access/accounts.ts';
import { commandLine } from '../../src/access/actor.ts';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import { apiOf, type Api } from '../support/api.ts';
import { spawnBerth, type BerthProcess, type Login } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../support/faults.ts';
import { makeImage } from '../support/images.ts';
import { freePort } from '../support/ports.ts';
import { startMailServer, type TestMailServer } from '../support/smtp.ts';
import { temporaryFolder } from '../support/tools.ts';

const tokensPerMinute = 10;
const pull = ['repository:acme/app:pull'];

let facts: TestDatabase;
let database: Database;
let data: Awaited<ReturnType<typeof temporaryFolder>>;
let smtp: TestMailServer;
let berths: readonly [BerthProcess, BerthProcess];
/** The administrator, at each. */
let admins: readonly [Api, Api];

beforeAll(async () => {
  [facts, data, smtp] = await Promise.all([createTestDatabase(), temporaryFolder('pair'), startMailServer()]);
  database = createDatabase({ connection: facts.connection, poolSize: 2, hotLanes: 1 });
  const settings = {
    BERTH_DATABASE_URL: facts.url,
    BERTH_DATA_DIR: data.folder,
    // The tests say themselves where they come from.
    BERTH_TRUSTED_PROXIES: '127.0.0.1',
    BERTH_RATE_LIMIT_STORE: 'postgres',
    BERTH_RATE_LIMIT_TOKENS_PER_ADDRESS_PER_MINUTE: String(tokensPerMinute),
    BERTH_SMTP_URL: smtp.url,
    BERTH_MAIL_FROM: 'berth@hub.example',
  };
  // Mails need a public URL, and as replicas they have the same: one port, at addresses of which nobody else is given any.
  const port = await freePort('127.0.0.2');
  const start = async (host: string): Promise<BerthProcess> => {
    const places = { BERTH_LISTEN: `${host}:${port}`, BERTH_PUBLIC_URL: `http://hub.example:${port}` };
    return { ...(await spawnBerth({ ...settings, ...places })), url: `http://${host}:${port}` };
  };
  berths = await Promise.all([start('127.0.0.2'), start('127.0.0.3')]);
  const [one, other] = berths;
  admins = [await apiOf(one.url, one.admin), await apiOf(other.url, other.admin)];
  await clientOf(one.url, one.admin).pushImage('acme/app', 'v1', makeImage());
  await admins[0].patch('/repositories/acme/app/-', { visibility: 'internal' });
});
afterAll(async () => {
  await Promise.all(berths.map((berth) => berth.end('SIGTERM')));
  await database.close();
  await Promise.all([facts.drop(), data.remove(), smtp.close()]);
});

async function addUser(username: string): Promise<Login> {
  const login = { username, password: `password of ${username}` };
  await addAccount(database, { ...login, admin: false }, commandLine('test'));
  return login;
}

/** What each of the two answers to whoever shows this, one after the other and again. */
async function everywhere(authorization: string): Promise<number[]> {
  const statuses: number[] = [];
  for (const { url } of [...berths, ...berths]) {
    const answer = await supertest(url)
      .get('/v2/acme/app/manifests/v1')
      .set('Authorization', authorization)
      .ok(() => true);
    statuses.push(answer.status);
  }
  return statuses;
}
const basic = ({ username, password }: Login): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
const four = (status: number): number[] => Array<number>(4).fill(status);

test('an access token is good at both, until its account is disabled at one', async () => {
  const ada = await addUser('ada');
  const tokens = [await tokenFor(berths[0].url, pull, ada), await tokenFor(berths[1].url, pull, ada)];
  for (const token of tokens) expect(await everywhere(`Bearer ${token}`)).toEqual(four(200));
  expect((await admins[1].patch('/users/ada', { disabled: true })).status).toBe(200);
  for (const token of tokens) expect(await everywhere(`Bearer ${token}`)).toEqual(four(401));
  expect(await everywhere(basic(ada))).toEqual(four(401));
});

test('a personal token that both remember is dead at both when one has heard so', async () => {
  const bob = await addUser('bob');
  const apis = [await apiOf(berths[0].url, bob), await apiOf(berths[1].url, bob)] as const;
  const grants = [{ repositories: 'acme/*', actions: ['pull'] }];
  const { id, secret } = (await apis[0].post('/tokens', { name: 'ci', grants })).body as { id: number; secret: string };
  const shown = basic({ username: 'bob', password: secret });
  expect(await everywhere(shown)).toEqual(four(200));
  expect((await apis[1].delete(`/tokens/${id}`)).status).toBe(204);
  expect(await everywhere(shown)).toEqual(four(401));
});

test('a password that is changed at one no longer opens the other, where it was good a moment ago', async () => {
  const eve = await addUser('eve');
  expect(await everywhere(basic(eve))).toEqual(four(200));
  const body = { password: eve.password, newPassword: 'another password' };
  const changed = await (await apiOf(berths[0].url, eve)).put('/account/password', body);
  expect(changed.status).toBe(200);
  expect(await everywhere(basic(eve))).toEqual(four(401));
  expect(await everywhere(basic({ ...eve, password: 'another password' }))).toEqual(four(200));
});

test('keys that sign tokens are replaced and revoked for both at once', async () => {
  const kidOf = (token: string): string =>
    (JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as { kid: string }).kid;
  const { admin } = berths[0];
  const old = await tokenFor(berths[1].url, pull, admin);
  expect((await admins[0].post('/signing-keys/rotate')).status).toBe(201);
  const fresh = await tokenFor(berths[1].url, pull, admin);
  expect(kidOf(fresh)).not.toBe(kidOf(old));
  for (const token of [old, fresh]) expect(await everywhere(`Bearer ${token}`)).toEqual(four(200));
  expect((await admins[1].post(`/signing-keys/${kidOf(old)}/revoke`)).status).toBe(200);
  expect(await everywhere(`Bearer ${old}`)).toEqual(four(401));
  expect(await everywhere(`Bearer ${fresh}`)).toEqual(four(200));
});

test('a limit is one for both', async () => {
  const statuses: number[] = [];
  for (let i = 0; i < tokensPerMinute + 4; i += 1) {
    const answer = await supertest(berths[i % 2]!.url)
      .get('/auth/token')
      .set('X-Forwarded-For', '203.0.113.9')
      .ok(() => true);
    statuses.push(answer.status);
  }
  expect(statuses.slice(0, tokensPerMinute)).toEqual(Array<number>(tokensPerMinute).fill(200));
  expect(statuses.slice(tokensPerMinute)).toEqual(four(429));
});

test('what is to be done in the background is done by one of them, once', async () => {
  const addresses = Array.from({ length: 30 }, (_, i) => `person${i}@hub.example`);
  const answers = await Promise.all(addresses.map((email, i) => admins[i % 2]!.post('/users/invitations', { email })));
  expect(answers.map(({ status }) => status)).toEqual(addresses.map(() => 201));
  await until(async () => {
    const queued = await database.query(`SELECT FROM graphile_worker.jobs WHERE task_identifier = 'send_mail'`);
    return queued.length === 0 && smtp.mails.length >= addresses.length;
  });
  expect(smtp.mails.flatMap(({ recipients }) => recipients).toSorted()).toEqual(addresses.toSorted());
});
