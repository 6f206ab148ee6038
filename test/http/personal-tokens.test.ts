/** Personal access tokens: made, used, limited, rotated and ended, on one server and on another one beside it. */
import { randomUUID } from 'node:crypto';
import supertest from 'supertest';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { apiOf, itemsOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { makeImage } from '../support/images.ts';

let berth: TestBerth;
/** Another process on the same database. */
let other: TestBerth;
let alice: Login;
let bob: Login;
let api: Api;
beforeAll(async () => {
  berth = await startTestBerth();
  other = await startTestBerth({ BERTH_DATABASE_URL: berth.databaseUrl });
  [alice, bob] = [await berth.addUser('alice'), await berth.addUser('bob')];
  for (const [login, name] of [
    [alice, 'alice/api'],
    [alice, 'alice/web'],
    [bob, 'bob/private'],
    [bob, 'bob/public'],
    [bob, 'bob/internal'],
  ] as const)
    await clientOf(berth.url, login).pushImage(name, 'v1', makeImage());
  for (const visibility of ['public', 'internal'])
    await (await apiOf(berth.url, bob)).patch(`/repositories/bob/${visibility}/-`, { visibility });
  api = await apiOf(berth.url, alice);
});
afterAll(async () => {
  await other.stop();
  await berth.stop();
});

interface Token {
  readonly id: number;
  readonly name: string;
  readonly secret: string;
  readonly status: string;
  readonly expiresAt: string | null;
  readonly replacedBy: number | null;
  readonly lastUsed: { readonly at: string; readonly address: string; readonly client: string } | null;
  readonly can: readonly string[];
}

let name = '';
let count = 0;
beforeEach(() => {
  count += 1;
  name = `job-${count}`;
});

const days = (n: number): string => new Date(Date.now() + n * 24 * 3600 * 1000).toISOString();
const pullApi = [{ repositories: 'alice/api', actions: ['pull'] }];

async function make(body: object = {}, by = api): Promise<Token> {
  const answer = await by.post('/tokens', { name, grants: pullApi, ...body });
  expect(answer.status).toBe(201);
  return answer.body as Token;
}
const loginOf = ({ secret }: Token, username = 'alice'): Login => ({ username, password: secret });
const apiBy = (token: Token): Promise<Api> => apiOf(berth.url, { token: token.secret });
const look = async ({ id }: Token): Promise<Token> => (await api.get(`/tokens/${id}`)).body as Token;
const tags = (repository: string, login: Login, url = berth.url) =>
  clientOf(url, login).request('get', `/v2/${repository}/tags/list`);
const bearer = (token: string, path: string, url = berth.url) =>
  supertest(url)
    .get(path)
    .set('Authorization', `Bearer ${token}`)
    .ok(() => true);

describe('making one', () => {
  test('shows the secret once, and everything else ever after', async () => {
    const expiresAt = days(30);
    const made = await make({ expiresAt, apiScopes: ['account:read'] });
    expect(made.secret).toMatch(/^bth_[0-9A-Za-z]{42}$/);
    const { secret: _secret, ...shown } = made;
    expect(shown).toMatchObject({
      name,
      grants: pullApi,
      apiScopes: ['account:read'],
      status: 'active',
      expiresAt,
      replacedBy: null,
      lastUsed: null,
      can: ['rotate', 'revoke'],
    });
    const answer = await api.get(`/tokens/${made.id}`);
    expect(answer.body).toEqual(shown);
    const [newest] = await itemsOf<Token>(api, '/tokens?limit=1');
    expect(newest).toEqual(shown);
  });

  test('it ends after 90 days, if nobody says otherwise', async () => {
    const { expiresAt } = await make();
    expect(Math.abs(Date.parse(expiresAt!) - Date.parse(days(90)))).toBeLessThan(60_000);
  });

  test.each([
    ['no end', null, /365 days/],
    ['an end beyond the maximum', days(366), /365 days/],
    ['an end in the past', days(-1), /future/],
  ])('%s: 422', async (_what, expiresAt, detail) => {
    const answer = await api.post('/tokens', { name, grants: pullApi, expiresAt });
    expect(answer.status).toBe(422);
    expect(answer.body).toMatchObject({
      detail: expect.stringMatching(detail) as string,
      errors: [{ path: 'body.expiresAt' }],
    });
  });

  test('of live ones there is one of a name; of ended ones any number', async () => {
    const first = await make();
    expect((await api.post('/tokens', { name, grants: pullApi })).status).toBe(409);
    expect((await (await apiOf(berth.url, bob)).post('/tokens', { name, grants: pullApi })).status).toBe(201);
    await api.delete(`/tokens/${first.id}`);
    await make();
  });

  test('two at once of one name: one is made', async () => {
    const answers = await Promise.all(Array.from({ length: 4 }, () => api.post('/tokens', { name, grants: pullApi })));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 409, 409, 409]);
  });

  test('the same request sent again gets the same answer, secret and all', async () => {
    const key = randomUUID();
    const send = () => api.post('/tokens', { name, grants: pullApi }).set('Idempotency-Key', key);
    const [first, again] = [await send(), await send()];
    expect(again.body).toEqual(first.body);
    expect(again.headers['idempotency-replayed']).toBe('true');
    expect(await itemsOf<Token>(api, '/tokens').then((all) => all.filter((each) => each.name === name))).toHaveLength(
      1,
    );
  });

  test.each(['alice/absent', 'bob/private', 'bob/absent', 'nobody/*', '*'])(
    'whether %s is there, or may be seen, makes no difference to the answer',
    async (repositories) => {
      const { id, ...made } = await make({ grants: [{ repositories, actions: ['push', 'pull', 'pull'] }] });
      expect(made).toMatchObject({ name, grants: [{ repositories, actions: ['pull', 'push'] }], status: 'active' });
      expect(id).toBeGreaterThan(0);
    },
  );

  test.each([
    ['an empty name', { name: '' }],
    ['a long name', { name: 'x'.repeat(65) }],
    ['a name of several lines', { name: 'a\nb' }],
    ['a name that begins with a space', { name: ' a' }],
    ['a name that turns the text around', { name: 'a\u202eb' }],
    ['a pattern that no repository has', { grants: [{ repositories: 'ALICE/*', actions: ['pull'] }] }],
    ['an unknown action', { grants: [{ repositories: '*', actions: ['fly'] }] }],
    ['no action', { grants: [{ repositories: '*', actions: [] }] }],
    ['more grants than any job needs', { grants: Array.from({ length: 101 }, () => pullApi[0]) }],
    ['an unknown scope', { apiScopes: ['everything'] }],
    ['another owner', { userId: 1 }],
    ['a secret of its own', { secret: 'bth_mine' }],
  ])('%s: 400', async (_what, body) => {
    expect((await api.post('/tokens', { name, grants: pullApi, ...body })).status).toBe(400);
  });

  test('no token makes tokens, whatever it was made for, and no access token does', async () => {
    const wide = await make({
      grants: [{ repositories: '*', actions: ['pull', 'push', 'delete', 'admin'] }],
      apiScopes: ['account:read', 'account:write', 'admin:write'],
    });
    const wanted = { name: `${name}-child`, grants: pullApi };
    const jwt = await tokenFor(berth.url, [], alice);
    for (const [who, status] of [
      [loginOf(wide), 403],
      [{ token: wide.secret }, 403],
      [{ token: jwt }, 401],
    ] as const) {
      const by = await apiOf(berth.url, who);
      expect((await by.post('/tokens', wanted)).status).toBe(status);
    }
    expect((await itemsOf<Token>(api, '/tokens')).map((each) => each.name)).not.toContain(wanted.name);
  });

  test('nobody makes none', async () => {
    expect((await (await apiOf(berth.url)).post('/tokens', { name, grants: pullApi })).status).toBe(401);
  });
});

describe('what a token may do', () => {
  test('what it was made for, and no more, with Basic and with Bearer', async () => {
    const token = await make();
    const login = loginOf(token);
    expect((await tags('alice/api', login)).status).toBe(200);
    expect((await tags('alice/web', login)).status).toBe(404);
    const push = await clientOf(berth.url, login).request('post', '/v2/alice/api/blobs/uploads/');
    expect(push.status).toBe(403);
    expect(push.body).toEqual({
      errors: [
        {
          code: 'DENIED',
          message: `the token ${name} may pull alice/api, not push`,
          detail: { name: 'alice/api', action: 'push', reason: `the token ${name} may pull alice/api, not push` },
        },
      ],
    });
    const jwt = await tokenFor(berth.url, ['repository:alice/api:pull,push', 'repository:alice/web:pull'], login);
    expect((await bearer(jwt, '/v2/alice/api/tags/list')).status).toBe(200);
    expect((await bearer(jwt, '/v2/alice/web/tags/list')).status).toBe(404);
    const denied = await supertest(berth.url)
      .post('/v2/alice/api/blobs/uploads/')
      .set('Authorization', `Bearer ${jwt}`)
      .ok(() => true);
    expect(denied.status).toBe(403);
    expect(denied.text).toContain(`the token ${name} may pull alice/api, not push`);
  });

  test('a push, where it was made for one, to a repository that is not there yet', async () => {
    const token = await make({ grants: [{ repositories: 'alice/new-*', actions: ['pull', 'push'] }] });
    await clientOf(berth.url, loginOf(token)).pushImage('alice/new-one', 'v1', makeImage());
    expect((await tags('alice/new-one', alice)).status).toBe(200);
    const elsewhere = await clientOf(berth.url, loginOf(token)).request('post', '/v2/alice/else/blobs/uploads/');
    expect(elsewhere.status).toBe(403);
  });

  test('never more than its account may', async () => {
    const token = await make({ grants: [{ repositories: '*', actions: ['pull', 'push', 'delete', 'admin'] }] });
    expect((await tags('bob/private', loginOf(token))).status).toBe(404);
    const push = await clientOf(berth.url, loginOf(token)).request('post', '/v2/bob/private/blobs/uploads/');
    expect(push.status).toBe(403);
    expect((await (await apiBy(token)).patch('/repositories/bob/private/-', { visibility: 'public' })).status).toBe(
      404,
    );
  });

  test('what is public it pulls anyway; what is internal only if it was made for that', async () => {
    const none = await make({ grants: [] });
    expect((await tags('bob/public', loginOf(none))).status).toBe(200);
    expect((await tags('bob/internal', loginOf(none))).status).toBe(404);
    name += '-wide';
    const wide = await make({ grants: [{ repositories: '*', actions: ['pull'] }] });
    expect((await tags('bob/internal', loginOf(wide))).status).toBe(200);
  });

  test('it is good for its own account only', async () => {
    const token = await make();
    expect((await tags('alice/api', loginOf(token, 'bob'))).status).toBe(401);
    expect((await tags('alice/api', loginOf(token, 'nobody'))).status).toBe(401);
  });

  test('at the API: what its scopes say', async () => {
    const none = await apiBy(await make());
    expect((await none.get('/tokens')).status).toBe(403);
    name += '-reader';
    const reader = await make({ apiScopes: ['account:read'] });
    expect((await itemsOf<Token>(await apiBy(reader), '/tokens')).length).toBeGreaterThan(1);
    const victim = (await itemsOf<Token>(api, '/tokens'))[1]!;
    expect((await (await apiBy(reader)).delete(`/tokens/${victim.id}`)).status).toBe(403);
  });
});

describe('looking at tokens', () => {
  test("nobody sees another one's, or can tell it from one that is not there", async () => {
    const { id } = await make();
    const stranger = await apiOf(berth.url, bob);
    const [theirs, absent] = [await stranger.get(`/tokens/${id}`), await stranger.get('/tokens/999999999')];
    for (const answer of [theirs, absent]) {
      expect(answer.status).toBe(404);
      expect(answer.body).toMatchObject({ type: 'urn:berth:problem:not-found' });
    }
    for (const answer of [await stranger.delete(`/tokens/${id}`), await stranger.post(`/tokens/${id}/rotate`)])
      expect(answer.status).toBe(404);
    expect((await look({ id } as Token)).status).toBe('active');
  });

  test('a token sees itself, whatever it was made for', async () => {
    const token = await make();
    const by = await apiBy(token);
    for (const path of ['/tokens/current', `/tokens/${token.id}`]) {
      const answer = await by.get(path);
      expect(answer.status).toBe(200);
      expect(answer.body).toMatchObject({ id: token.id, name, can: ['rotate', 'revoke'] });
    }
    // What it is at this moment is no token.
    expect((await api.get('/tokens/current')).status).toBe(404);
  });

  test('those that ended are listed when somebody asks for them', async () => {
    const token = await make();
    await api.delete(`/tokens/${token.id}`);
    const ids = async (path: string) => (await itemsOf<Token>(api, path)).map(({ id }) => id);
    expect(await ids('/tokens')).not.toContain(token.id);
    const all = await ids('/tokens?ended=1&limit=3');
    expect(all).toContain(token.id);
    expect(all).toEqual(all.toSorted((a, b) => b - a));
    expect(await look(token)).toMatchObject({ status: 'revoked', can: [] });
  });

  test('the last use is there: when, from where, by what', async () => {
    const token = await make();
    const before = Date.now();
    const third = await startTestBerth({ BERTH_DATABASE_URL: berth.databaseUrl });
    const offline = await supertest(third.url)
      .get('/auth/token')
      .query({ offline_token: 'true' })
      .set('User-Agent', 'docker/28.0 (linux)')
      .auth('alice', token.secret);
    expect(offline.status).toBe(200);
    // What is noted is written when it stops, if not before.
    await third.stop();
    const { lastUsed } = await look(token);
    expect(lastUsed).toEqual({
      at: expect.any(String) as string,
      address: '127.0.0.1',
      client: 'docker/28.0 (linux)',
    });
    expect(Date.parse(lastUsed!.at)).toBeGreaterThanOrEqual(before - 1);
  });

  test('a use by way of an identity token is a use, too', async () => {
    const token = await make();
    const { body } = await supertest(berth.url)
      .get('/auth/token')
      .query({ offline_token: 'true' })
      .auth('alice', token.secret);
    await berth.database.query('UPDATE credentials SET last_used_at = NULL WHERE id = $1', [token.id]);
    const third = await startTestBerth({ BERTH_DATABASE_URL: berth.databaseUrl });
    await supertest(third.url)
      .post('/auth/token')
      .type('form')
      .set('User-Agent', 'containerd/2')
      .send({ grant_type: 'refresh_token', refresh_token: (body as { refresh_token: string }).refresh_token })
      .expect(200);
    await third.stop();
    // The first server may write what it noted at any time; an older use never hides a newer one.
    expect((await look(token)).lastUsed?.client).toBe('containerd/2');
  });
});

describe('rotating', () => {
  test('a new secret with the same rights; the old one ends at once', async () => {
    const old = await make({ apiScopes: ['account:read'] });
    const answer = await api.post(`/tokens/${old.id}/rotate`);
    expect(answer.status).toBe(201);
    const fresh = answer.body as Token;
    expect(fresh).toMatchObject({ name, grants: pullApi, apiScopes: ['account:read'], status: 'active' });
    expect(fresh.secret).not.toBe(old.secret);
    expect((await tags('alice/api', loginOf(fresh))).status).toBe(200);
    expect((await tags('alice/api', loginOf(old))).status).toBe(401);
    expect(await look(old)).toMatchObject({ status: 'expired', replacedBy: fresh.id });
  });

  test('with an overlap both work, and the old one for no longer than that', async () => {
    const old = await make();
    const { body: fresh } = await api.post(`/tokens/${old.id}/rotate`, { overlapSeconds: 3600, expiresAt: days(5) });
    for (const each of [old, fresh as Token]) expect((await tags('alice/api', loginOf(each))).status).toBe(200);
    const seen = await look(old);
    expect(seen).toMatchObject({ status: 'ending', can: ['revoke'] });
    expect(Math.abs(Date.parse(seen.expiresAt!) - Date.now() - 3600_000)).toBeLessThan(60_000);
    expect((await api.post(`/tokens/${old.id}/rotate`)).status).toBe(409);
  });

  test('an overlap never prolongs a life', async () => {
    const old = await make({ expiresAt: days(1) });
    await api.post(`/tokens/${old.id}/rotate`, { overlapSeconds: 7 * 24 * 3600, expiresAt: days(2) });
    expect((await look(old)).expiresAt).toBe(old.expiresAt);
  });

  test('what came from the old one ends with it', async () => {
    const old = await make();
    const { body } = await supertest(berth.url)
      .get('/auth/token')
      .query({ offline_token: 'true', scope: 'repository:alice/api:pull' })
      .auth('alice', old.secret);
    const { token, refresh_token: refreshToken } = body as { token: string; refresh_token: string };
    const refresh = () =>
      supertest(other.url)
        .post('/auth/token')
        .type('form')
        .send({ grant_type: 'refresh_token', refresh_token: refreshToken });
    expect((await refresh()).status).toBe(200);
    await api.post(`/tokens/${old.id}/rotate`);
    expect((await refresh()).status).toBe(401);
    expect((await bearer(token, '/v2/alice/api/tags/list')).status).toBe(401);
  });

  test('a token rotates itself, for no longer a life than it was given, and has five minutes to hear of it', async () => {
    const old = await make({ expiresAt: days(7) });
    const by = await apiBy(old);
    const longer = await by.post('/tokens/current/rotate', { expiresAt: days(8) });
    expect(longer.status).toBe(422);
    const key = randomUUID();
    const first = await by.post('/tokens/current/rotate').set('Idempotency-Key', key);
    expect(first.status).toBe(201);
    const again = await by.post('/tokens/current/rotate').set('Idempotency-Key', key);
    expect(again.body).toEqual(first.body);
    const fresh = first.body as Token;
    expect(fresh).toMatchObject({ name, grants: pullApi });
    expect(Math.abs(Date.parse(fresh.expiresAt!) - Date.parse(days(7)))).toBeLessThan(60_000);
    expect((await look(old)).status).toBe('ending');
    expect((await (await apiBy(fresh)).get('/tokens/current')).status).toBe(200);
  });

  test('it rotates no other one, and an access token of it not even itself', async () => {
    const token = await make({ apiScopes: ['account:write'] });
    name += '-other';
    const victim = await make();
    expect((await (await apiBy(token)).post(`/tokens/${victim.id}/rotate`)).status).toBe(403);
    const jwt = await apiOf(berth.url, { token: await tokenFor(berth.url, [], loginOf(token)) });
    expect((await jwt.post('/tokens/current/rotate')).status).toBe(401);
    expect((await jwt.post(`/tokens/${token.id}/rotate`)).status).toBe(401);
    expect((await jwt.delete('/tokens/current')).status).toBe(401);
  });

  test('one that has ended has no successor', async () => {
    const token = await make();
    await api.delete(`/tokens/${token.id}`);
    expect((await api.post(`/tokens/${token.id}/rotate`)).status).toBe(409);
  });

  test('two at once: one successor', async () => {
    const token = await make();
    const answers = await Promise.all(Array.from({ length: 4 }, () => api.post(`/tokens/${token.id}/rotate`)));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 409, 409, 409]);
  });
});

describe('ending', () => {
  test('revoking the successor ends what is left of its predecessors, too', async () => {
    const old = await make();
    const { body } = await api.post(`/tokens/${old.id}/rotate`, { overlapSeconds: 3600 });
    const fresh = body as Token;
    expect((await api.delete(`/tokens/${fresh.id}`)).status).toBe(204);
    for (const each of [old, fresh]) expect((await tags('alice/api', loginOf(each))).status).toBe(401);
    expect((await look(old)).status).toBe('revoked');
  });

  test('a token revokes itself', async () => {
    const token = await make();
    expect((await (await apiBy(token)).delete('/tokens/current')).status).toBe(204);
    expect((await (await apiBy(token)).get('/tokens/current')).status).toBe(401);
  });

  const ends: readonly (readonly [what: string, end: (token: Token, login: Login) => Promise<unknown>])[] = [
    ['it is revoked', async (token, login) => (await apiOf(other.url, login)).delete(`/tokens/${token.id}`)],
    [
      'its time is over',
      ({ id }) => berth.database.query('UPDATE credentials SET expires_at = now() WHERE id = $1', [id]),
    ],
    [
      'its account is disabled',
      (_token, { username }) =>
        berth.database.query('UPDATE users SET disabled_at = now() WHERE name = $1', [username]),
    ],
    ['it is rotated', async (token, login) => (await apiOf(other.url, login)).post(`/tokens/${token.id}/rotate`)],
  ];
  test.each(ends)('everything ends with the next request, on every server, when %s', async (_what, end) => {
    const login = await berth.addUser(`carol-${count}`);
    const repository = `${login.username}/app`;
    await clientOf(berth.url, login).pushImage(repository, 'v1', makeImage());
    const grants = [{ repositories: repository, actions: ['pull'] }];
    const token = await make({ grants }, await apiOf(berth.url, login));
    const basic = loginOf(token, login.username);
    const path = `/v2/${repository}/manifests/v1`;
    const jwt = await tokenFor(berth.url, [`repository:${repository}:pull`], basic);
    const all = async () => {
      const answers = [berth.url, other.url].flatMap((url) => [
        bearer(jwt, path, url),
        bearer(jwt, '/v2/', url),
        bearer(jwt, '/v2/bob/public/tags/list', url),
        clientOf(url, basic).request('get', path),
        bearer(token.secret, '/api/v1/tokens/current', url),
        clientOf(url, basic).request('get', '/auth/token'),
      ]);
      return (await Promise.all(answers)).map(({ status }) => status);
    };
    const alive = [200, 200, 401, 200, 200, 200];
    expect(await all()).toEqual([...alive, ...alive]);
    await end(token, login);
    expect(await all()).toEqual(Array.from({ length: 12 }, () => 401));
  });
});

describe('administrators', () => {
  test('see and revoke the tokens of anybody, and make or rotate none of them', async () => {
    const token = await make();
    const admin = await apiOf(berth.url, berth.admin);
    const seen = (await itemsOf<Token>(admin, '/users/alice/tokens?limit=2')).find(({ id }) => id === token.id);
    expect(seen).toMatchObject({ name, can: ['revoke'] });
    expect(JSON.stringify(seen)).not.toContain('secret');
    expect((await admin.post(`/tokens/${token.id}/rotate`)).status).toBe(404);
    expect((await admin.delete(`/users/bob/tokens/${token.id}`)).status).toBe(404);
    expect((await admin.delete(`/users/alice/tokens/${token.id}`)).status).toBe(204);
    expect((await tags('alice/api', loginOf(token))).status).toBe(401);
    expect((await admin.get('/users/nobody/tokens')).status).toBe(404);
  });

  test('nobody else does, whoever is asked for', async () => {
    const stranger = await apiOf(berth.url, bob);
    const answers = await Promise.all(['alice', 'bob', 'nobody'].map((user) => stranger.get(`/users/${user}/tokens`)));
    const bodies = answers.map(({ status, body }) => ({ status, body: { ...(body as object), requestId: '' } }));
    expect(bodies[0]!.status).toBe(404);
    for (const each of bodies) expect(each).toEqual(bodies[0]);
  });
});

describe('what is left behind', () => {
  test('an audit row for every change, without the secret', async () => {
    const token = await make();
    const { body } = await api.post(`/tokens/${token.id}/rotate`, { overlapSeconds: 60 });
    const fresh = body as Token;
    await api.delete(`/tokens/${fresh.id}`);
    const rows = await berth.database.query<{ action: string; actor_name: string; after: unknown }>(
      `SELECT action, actor_name, after FROM audit_log WHERE target = $1 ORDER BY id`,
      [`token ${name} of alice`],
    );
    expect(rows.map(({ action }) => action)).toEqual(['token.create', 'token.rotate', 'token.revoke']);
    expect(new Set(rows.map((row) => row.actor_name))).toEqual(new Set(['alice']));
    expect(rows[0]!.after).toMatchObject({ id: token.id, grants: pullApi });
    expect(rows[2]!.after).toEqual({ revoked: [token.id, fresh.id] });
  });

  test('no secret is in any table, nor in the log', async () => {
    const token = await make();
    const { body } = await api
      .post(`/tokens/${token.id}/rotate`, { overlapSeconds: 60 })
      .set('Idempotency-Key', randomUUID());
    const secrets = [token.secret, (body as Token).secret];
    await tags('alice/api', loginOf(token));
    await bearer(token.secret, '/v2/');
    await bearer(token.secret, '/api/v1/tokens/nonsense');
    await supertest(berth.url)
      .post('/auth/token')
      .type('form')
      .send({ grant_type: 'refresh_token', refresh_token: token.secret });
    const tables = await berth.database.query<{ name: string }>(
      `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
       WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
    );
    expect(tables.length).toBeGreaterThan(20);
    for (const table of tables) {
      const rows = await berth.database.query<{ text: string }>(`SELECT t::text AS text FROM ${table.name} t`);
      for (const secret of secrets) {
        const hex = Buffer.from(secret).toString('hex');
        expect(
          rows.filter(({ text }) => text.includes(secret) || text.includes(hex)),
          table.name,
        ).toEqual([]);
      }
    }
    const log = JSON.stringify([berth.logs, other.logs]);
    expect(log).toContain('createToken');
    for (const secret of secrets) expect(log).not.toContain(secret);
  });
});
