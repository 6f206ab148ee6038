/** The keys that sign access tokens, as two servers on one database use them. */
import { createHash } from 'node:crypto';
import jwt from 'jsonwebtoken';
import supertest from 'supertest';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { tendSigningKeys } from '../../src/access/signing-keys.ts';
import { apiOf, type Api } from '../support/api.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { makeImage } from '../support/images.ts';

let berth: TestBerth;
/** Another process on the same database. */
let other: TestBerth;
let admin: Api;
beforeAll(async () => {
  berth = await startTestBerth();
  other = await startTestBerth({ BERTH_DATABASE_URL: berth.databaseUrl });
  await berth.addUser('alice');
  await clientOf(berth.url, berth.admin).pushImage('acme/app', 'v1', makeImage());
  admin = await apiOf(berth.url, berth.admin);
});
afterAll(async () => {
  await other.stop();
  await berth.stop();
});
/** Both servers have a key in their memory that is current. */
beforeEach(async () => {
  for (const url of [berth.url, other.url]) await tokenOf(url);
});

interface Key {
  readonly kid: string;
  readonly status: 'current' | 'replaced' | 'revoked';
}

const tokenOf = (url: string) => tokenFor(url, ['repository:acme/app:pull'], berth.admin);
const kidOf = (token: string): string => jwt.decode(token, { complete: true })!.header.kid!;
const ask = async (token: string, url: string): Promise<number> => {
  const answer = await supertest(url)
    .get('/v2/acme/app/tags/list')
    .set('Authorization', `Bearer ${token}`)
    .ok(() => true);
  return answer.status;
};
const everywhere = (token: string) => Promise.all([berth.url, other.url].map((url) => ask(token, url)));
const published = async (url: string): Promise<string[]> => {
  const { body } = await supertest(url).get('/auth/jwks');
  return (body as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
};
const keys = async (): Promise<Key[]> => ((await admin.get('/signing-keys')).body as { items: Key[] }).items;
const current = async (): Promise<string> => {
  const found = (await keys()).filter(({ status }) => status === 'current');
  expect(found).toHaveLength(1);
  return found[0]!.kid;
};
const age = (kid: string, column: 'created_at' | 'replaced_at', seconds: number) =>
  berth.database.query(`UPDATE signing_keys SET ${column} = now() - make_interval(secs => $2) WHERE kid = $1`, [
    kid,
    seconds,
  ]);
const dayS = 24 * 3600;
const auditOf = (kid: string) =>
  berth.database.query<{ action: string; actor_name: string }>(
    'SELECT action, actor_name FROM audit_log WHERE target = $1 ORDER BY id',
    [`signing key ${kid}`],
  );

describe('rotation', () => {
  test('by an administrator: every server signs with the new key at once, and believes the old one still', async () => {
    const old = await tokenOf(other.url);
    const answer = await admin.post('/signing-keys/rotate');
    expect(answer.status).toBe(201);
    const kid = await current();
    expect(kid).not.toBe(kidOf(old));
    for (const url of [berth.url, other.url]) expect(kidOf(await tokenOf(url))).toBe(kid);
    expect(await everywhere(old)).toEqual([200, 200]);
    expect(await published(other.url)).toEqual(expect.arrayContaining([kid, kidOf(old)]));
    expect(await auditOf(kid)).toEqual([{ action: 'signing_key.rotate', actor_name: 'admin' }]);
  });

  test('by age: not before, and once, whoever comes at the same time', async () => {
    const kid = await current();
    const tend = () => Promise.all(Array.from({ length: 4 }, () => tendSigningKeys(berth.database, 30)));
    await age(kid, 'created_at', 29 * dayS);
    expect((await tend()).map(({ rotated }) => rotated)).toEqual([false, false, false, false]);
    expect(await current()).toBe(kid);
    await age(kid, 'created_at', 31 * dayS);
    expect((await tend()).filter(({ rotated }) => rotated)).toHaveLength(1);
    expect(await current()).not.toBe(kid);
  });

  test('0 days: never', async () => {
    const kid = await current();
    await age(kid, 'created_at', 4000 * dayS);
    expect(await tendSigningKeys(berth.database, 0)).toMatchObject({ rotated: false });
    expect(await current()).toBe(kid);
  });

  test('a clock that was set back makes no old key current again', async () => {
    await berth.database.query(`UPDATE signing_keys SET created_at = now() + interval '1 day' WHERE kid = $1`, [
      await current(),
    ]);
    const old = await current();
    await admin.post('/signing-keys/rotate');
    expect(await current()).not.toBe(old);
    expect(kidOf(await tokenOf(other.url))).toBe(await current());
    await berth.database.query(`UPDATE signing_keys SET created_at = now() - interval '1 hour' WHERE kid = $1`, [old]);
  });

  test('the server does it by itself, in the background', async () => {
    const kid = await current();
    await age(kid, 'created_at', 31 * dayS);
    await berth.database.query(`SELECT graphile_worker.add_job('tend-signing-keys')`);
    await vi.waitFor(async () => expect(await current()).not.toBe(kid), { timeout: 20_000, interval: 20 });
  });

  test('a replaced key is forgotten when its last token is dead, and not before', async () => {
    const token = await tokenOf(berth.url);
    const kid = kidOf(token);
    await admin.post('/signing-keys/rotate');
    // The longest that a token may live, with the widest difference of clocks.
    await age(kid, 'replaced_at', 4200);
    await tendSigningKeys(berth.database, 30);
    expect(await everywhere(token)).toEqual([200, 200]);
    await age(kid, 'replaced_at', 3 * 3600);
    expect((await tendSigningKeys(berth.database, 30)).forgotten).toBe(1);
    // Both servers have verified with it before, and remember that.
    expect(await everywhere(token)).toEqual([401, 401]);
    expect(await published(berth.url)).not.toContain(kid);
    expect((await keys()).map((key) => key.kid)).not.toContain(kid);
  });
});

describe('a compromised key', () => {
  test('dropped: no token of it counts with the next request, on any server, and another key signs', async () => {
    const token = await tokenOf(other.url);
    const kid = kidOf(token);
    expect(await everywhere(token)).toEqual([200, 200]);
    const answer = await admin.post(`/signing-keys/${kid}/revoke`);
    expect(answer.status).toBe(200);
    expect((answer.body as { items: Key[] }).items.find((key) => key.kid === kid)).toMatchObject({
      status: 'revoked',
      can: [],
    });
    expect(await everywhere(token)).toEqual([401, 401]);
    for (const url of [berth.url, other.url]) {
      const fresh = await tokenOf(url);
      expect(kidOf(fresh)).toBe(await current());
      expect(await everywhere(fresh)).toEqual([200, 200]);
      expect(await published(url)).not.toContain(kid);
    }
    expect((await auditOf(kid)).at(-1)).toEqual({ action: 'signing_key.revoke', actor_name: 'admin' });
    // Again: there is nothing more to do.
    expect((await admin.post(`/signing-keys/${kid}/revoke`)).status).toBe(200);
    expect((await auditOf(kid)).filter(({ action }) => action === 'signing_key.revoke')).toHaveLength(1);
  });

  test('one that was replaced before: the current one stays', async () => {
    const token = await tokenOf(berth.url);
    await admin.post('/signing-keys/rotate');
    const kid = await current();
    await admin.post(`/signing-keys/${kidOf(token)}/revoke`);
    expect(await everywhere(token)).toEqual([401, 401]);
    expect(await current()).toBe(kid);
  });

  test('one that is not there: 404', async () => {
    expect((await admin.post('/signing-keys/unknown/revoke')).status).toBe(404);
  });

  test('at the same time as tokens are asked for: every one of them counts, or its key is dropped', async () => {
    const kid = await current();
    const asked = Array.from({ length: 20 }, (_, i) => tokenOf(i % 2 === 0 ? berth.url : other.url));
    const [tokens] = await Promise.all([Promise.all(asked), admin.post(`/signing-keys/${kid}/revoke`)]);
    for (const token of tokens) expect(await ask(token, berth.url)).toBe(kidOf(token) === kid ? 401 : 200);
  });
});

describe('who may', () => {
  test('administrators, and none of their tokens that was not made for it', async () => {
    const tokenWith = async (apiScopes: readonly string[]) => {
      const name = createHash('sha256').update(apiScopes.join()).digest('hex').slice(0, 8);
      const { body } = await admin.post('/tokens', { name, grants: [], apiScopes });
      return apiOf(berth.url, { token: (body as { secret: string }).secret });
    };
    const callers: readonly (readonly [api: Api, sees: number, changes: number])[] = [
      [await apiOf(berth.url), 401, 401],
      [await apiOf(berth.url, { username: 'alice', password: 'password of alice' }), 404, 404],
      [await apiOf(berth.url, { token: await tokenOf(berth.url) }), 403, 401],
      [await tokenWith(['account:write', 'organizations:write']), 403, 403],
      [await tokenWith(['admin:read']), 200, 403],
      [await tokenWith(['admin:read', 'admin:write']), 200, 201],
    ];
    for (const [api, sees, changes] of callers) {
      expect((await api.get('/signing-keys')).status).toBe(sees);
      expect((await api.post('/signing-keys/rotate')).status).toBe(changes);
      if (changes !== 201) expect((await api.post(`/signing-keys/${await current()}/revoke`)).status).toBe(changes);
    }
  });

  test('nobody sees a private key', async () => {
    const answer = await admin.get('/signing-keys');
    expect(answer.text).not.toMatch(/PRIVATE|private/);
    expect((await supertest(berth.url).get('/auth/jwks')).text).not.toContain('"d"');
  });
});
