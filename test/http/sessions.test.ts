/** Sessions: signing in and out at /api/v1, here and everywhere. */
import supertest, { type Response } from 'supertest';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { searchAudit } from '../../src/events/audit-search.ts';
import { csrfTokenOf } from '../../src/http/api/csrf.ts';
import { apiOf, itemsOf } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { cookieOf, dockerLogin, signIn, trySignIn } from '../support/people.ts';

let berth: TestBerth;
let people = 0;
beforeAll(async () => {
  berth = await startTestBerth();
});
afterAll(() => berth.stop());

const newUser = (): Promise<Login> => berth.addUser(`user${(people += 1)}`);
const withoutRequest = ({ status, body }: Response) => ({ status, body: { ...(body as object), requestId: '' } });

describe('signing in', () => {
  test('gives a browser a cookie, and its scripts nothing that could be one', async () => {
    const ada = await newUser();
    const answer = await trySignIn(berth.url, ada);
    expect(answer.status).toBe(201);
    const session = cookieOf(answer)!;
    expect(answer.text).not.toContain(session);
    expect(answer.body).toMatchObject({ user: { name: ada.username, admin: false }, csrfToken: csrfTokenOf(session) });
    const who = await (await apiOf(berth.url, { session })).get('/session');
    expect(who.body).toMatchObject({
      user: { name: ada.username },
      credential: { kind: 'session' },
      csrfToken: csrfTokenOf(session),
      can: ['sign-out', 'change-account'],
    });
    expect(who.text).not.toContain(session);
  });

  test('gives a program that asks for it a secret, and no cookie', async () => {
    const ada = await newUser();
    const answer = await (await apiOf(berth.url)).post('/session', { ...ada, cookie: false });
    expect(answer.headers['set-cookie']).toBeUndefined();
    const { secret, csrfToken } = answer.body as { secret: string; csrfToken: null };
    expect(csrfToken).toBeNull();
    const program = await apiOf(berth.url, { token: secret });
    expect((await program.get('/session')).body).toMatchObject({ user: { name: ada.username }, csrfToken: null });
    expect((await program.delete('/session')).status).toBe(204);
    expect((await program.get('/session')).status).toBe(401);
  });

  test('ends the session that the browser came with: nobody can plant one', async () => {
    const [ada, eve] = [await newUser(), await newUser()];
    const planted = await signIn(berth.url, eve);
    const answer = await planted.api.post('/session', ada);
    expect(answer.status).toBe(201);
    expect(cookieOf(answer)).not.toBe(planted.session);
    expect((await planted.api.get('/session')).body).toMatchObject({ user: null });
  });

  test('makes a new secret each time, also for whoever brings one that was never given', async () => {
    const ada = await newUser();
    const chosen = `bth_${'a'.repeat(42)}`;
    const answer = await supertest(berth.url)
      .post('/api/v1/session')
      .set('Cookie', `berth_session=${chosen}`)
      .send(ada);
    expect(answer.status).toBe(201);
    expect(cookieOf(answer)).not.toBe(chosen);
    expect(cookieOf(answer)).not.toBe(cookieOf(await trySignIn(berth.url, ada)));
  });

  test('says nothing about who is there: one answer for everything that is wrong', async () => {
    const [ada, gone] = [await newUser(), await newUser()];
    await berth.database.query('UPDATE users SET disabled_at = now() WHERE name = $1', [gone.username]);
    const answers = [
      await trySignIn(berth.url, { ...ada, password: 'wrong password' }),
      await trySignIn(berth.url, { username: 'nobody-of-that-name', password: 'wrong password' }),
      await trySignIn(berth.url, { username: 'No Name!', password: 'wrong password' }),
      await trySignIn(berth.url, gone),
      await trySignIn(berth.url, { ...gone, password: 'wrong password' }),
      await trySignIn(berth.url, { ...gone, code: '123456' }),
    ];
    expect(answers[0]!.status).toBe(401);
    expect(cookieOf(answers[0]!)).toBeUndefined();
    expect(new Set(answers.map((answer) => JSON.stringify(withoutRequest(answer)))).size).toBe(1);
  });

  test('that fails is in the audit log, without the name that was typed unless it is somebody’s', async () => {
    const [ada, bob] = [await newUser(), await newUser()];
    expect(await dockerLogin(berth.url, { ...bob, password: 'wrong password' })).toBe(false);
    const typed = 'my-password-in-the-wrong-field';
    await trySignIn(berth.url, { ...ada, password: 'wrong password' });
    await trySignIn(berth.url, { username: typed, password: 'wrong password' });
    await vi.waitFor(
      async () => {
        const { records } = await searchAudit(
          berth.database,
          { all: true },
          { actions: ['sign_in.fail'] },
          { limit: 100 },
        );
        expect(records.map(({ target }) => target)).toEqual(
          expect.arrayContaining([ada.username, bob.username, 'no account']),
        );
        expect(JSON.stringify(records)).not.toContain(typed);
      },
      { timeout: 10_000 },
    );
  });

  test('with a token in place of the password is refused', async () => {
    const ada = await newUser();
    const made = await (
      await apiOf(berth.url, ada)
    ).post('/tokens', { name: 'ci', grants: [], apiScopes: ['account:read'] });
    const { secret } = made.body as { secret: string };
    expect((await trySignIn(berth.url, { ...ada, password: secret })).status).toBe(401);
  });

  test('is slowed down after some failures, whether or not there is such an account', async () => {
    const strict = await startTestBerth({ BERTH_SIGN_IN_FAILURES_FREE: '2' });
    try {
      const ada = await strict.addUser('ada');
      for (const username of [ada.username, 'nobody']) {
        const statuses = [];
        for (let i = 0; i < 4; i += 1)
          statuses.push((await trySignIn(strict.url, { username, password: `wrong password ${i}` })).status);
        expect(statuses).toEqual([401, 401, 401, 429]);
      }
    } finally {
      await strict.stop();
    }
  });
});

describe('who am I', () => {
  test('answers whoever is not signed in', async () => {
    const answer = await (await apiOf(berth.url)).get('/session');
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ user: null, credential: null, expiresAt: null, csrfToken: null, can: ['sign-in'] });
  });

  test('tells administrators and tokens what they are', async () => {
    const admin = await apiOf(berth.url, berth.admin);
    expect((await admin.get('/session')).body).toMatchObject({
      user: { name: 'admin', admin: true },
      credential: { kind: 'password', name: null },
      can: ['change-account', 'administer'],
    });
    const made = await admin.post('/tokens', { name: 'ci', grants: [], apiScopes: ['account:read'] });
    const token = await apiOf(berth.url, { token: (made.body as { secret: string }).secret });
    expect((await token.get('/session')).body).toMatchObject({ credential: { kind: 'token', name: 'ci' }, can: [] });
  });
});

describe('signing out', () => {
  test('ends the session and takes the cookie away', async () => {
    const { api } = await signIn(berth.url, await newUser());
    const answer = await api.delete('/session');
    expect(answer.status).toBe(204);
    expect(cookieOf(answer)).toBe('');
    expect((await api.get('/account')).status).toBe(401);
    expect((await api.delete('/session')).status).toBe(204);
  });

  test('needs the token of the session, so that no other page can do it', async () => {
    const { session } = await signIn(berth.url, await newUser());
    const answer = await supertest(berth.url).delete('/api/v1/session').set('Cookie', `berth_session=${session}`);
    expect(answer.status).toBe(403);
  });

  test('lists sessions with where they were used, and ends one of them', async () => {
    const ada = await newUser();
    const [first, second] = [await signIn(berth.url, ada), await signIn(berth.url, ada)];
    const sessions = await itemsOf<{ id: number; current: boolean }>(second.api, '/sessions?limit=1');
    expect(sessions).toMatchObject([
      { current: true, lastUsed: { address: '127.0.0.1' }, can: ['end'] },
      { current: false, can: ['end'] },
    ]);
    const ended = await second.api.delete(`/sessions/${sessions[1]!.id}`);
    expect(ended.status).toBe(204);
    expect(cookieOf(ended)).toBeUndefined();
    expect((await first.api.get('/account')).status).toBe(401);
    expect((await second.api.delete(`/sessions/${sessions[1]!.id}`)).status).toBe(404);
    expect(await itemsOf(second.api, '/sessions')).toHaveLength(1);
  });

  test('cannot end a session of somebody else', async () => {
    const [ada, eve] = [await signIn(berth.url, await newUser()), await signIn(berth.url, await newUser())];
    const [session] = await itemsOf<{ id: number }>(ada.api, '/sessions');
    expect((await eve.api.delete(`/sessions/${session!.id}`)).status).toBe(404);
    expect((await ada.api.get('/account')).status).toBe(200);
  });

  test('everywhere ends sessions, docker logins and access tokens, and leaves personal tokens', async () => {
    const ada = await newUser();
    const [here, there] = [await signIn(berth.url, ada), await signIn(berth.url, ada)];
    const made = await here.api.post('/tokens', { name: 'ci', grants: [], apiScopes: ['account:read'] });
    const { secret } = made.body as { secret: string };
    const login = await supertest(berth.url)
      .post('/auth/token')
      .type('form')
      .send({ grant_type: 'password', service: 'berth', access_type: 'offline', ...ada });
    const { refresh_token: refreshToken, access_token: accessToken } = login.body as Record<string, string>;
    const refresh = () =>
      supertest(berth.url)
        .post('/auth/token')
        .type('form')
        .send({ grant_type: 'refresh_token', service: 'berth', refresh_token: refreshToken });
    const ping = () => supertest(berth.url).get('/v2/').auth(accessToken!, { type: 'bearer' });
    expect([(await refresh()).status, (await ping()).status]).toEqual([200, 200]);

    const answer = await here.api.delete('/sessions');
    expect(answer.status).toBe(204);
    expect(cookieOf(answer)).toBe('');
    for (const { api } of [here, there]) expect((await api.get('/account')).status).toBe(401);
    expect([(await refresh()).status, (await ping()).status]).toEqual([401, 401]);
    expect((await (await apiOf(berth.url, { token: secret })).get('/account')).status).toBe(200);
    expect(await dockerLogin(berth.url, ada)).toBe(true);
  });

  test('is nothing that a token can do for its account', async () => {
    const ada = await newUser();
    const made = await (
      await apiOf(berth.url, ada)
    ).post('/tokens', { name: 'ci', grants: [], apiScopes: ['account:read', 'account:write'] });
    const token = await apiOf(berth.url, { token: (made.body as { secret: string }).secret });
    expect((await token.get('/sessions')).status).toBe(403);
    expect((await token.delete('/sessions')).status).toBe(403);
    expect((await token.delete('/sessions/1')).status).toBe(403);
    expect((await token.delete('/session')).status).toBe(422);
  });
});

test('a session ends when its time is over', async () => {
  const { api } = await signIn(berth.url, await newUser());
  const [session] = await itemsOf<{ id: number; expiresAt: string }>(api, '/sessions');
  const days = (Date.parse(session!.expiresAt) - Date.now()) / (24 * 3600 * 1000);
  expect(days).toBeGreaterThan(6.9);
  expect(days).toBeLessThan(7.1);
  await berth.database.query('UPDATE credentials SET expires_at = now() WHERE id = $1', [session!.id]);
  expect((await api.get('/account')).status).toBe(401);
});
