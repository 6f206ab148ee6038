/** The second factor: set up, signed in with, lost and removed. */
import supertest from 'supertest';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { searchAudit } from '../../src/events/audit-search.ts';
import { apiOf } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { appOf, cookieOf, dockerLogin, enableSecondFactor, signIn, trySignIn } from '../support/people.ts';

let berth: TestBerth;
let people = 0;
beforeAll(async () => {
  berth = await startTestBerth();
});
afterAll(() => berth.stop());

const newUser = (): Promise<Login> => berth.addUser(`user${(people += 1)}`);
const typeOf = (answer: { body: unknown }): string => (answer.body as { type: string }).type;

describe('setting up a second factor', () => {
  test('takes the password, shows the secret once, and counts only when a code was confirmed', async () => {
    const ada = await newUser();
    const { api } = await signIn(berth.url, ada);
    expect((await api.post('/account/totp', { password: 'wrong password' })).status).toBe(403);
    const begun = await api.post('/account/totp', { password: ada.password });
    expect(begun.status).toBe(201);
    const { secret, uri } = begun.body as { secret: string; uri: string };
    expect(new URL(uri).searchParams.get('secret')).toBe(secret);
    expect(uri).toContain(ada.username);
    expect((await api.get('/account')).text).not.toContain(secret);
    expect((await api.get('/account')).body).toMatchObject({ secondFactor: { enabled: false, recoveryCodes: 0 } });
    expect(await dockerLogin(berth.url, ada)).toBe(true);
    expect((await api.post('/account/totp/confirm', { code: '000000' })).status).toBe(403);
    expect((await api.get('/account')).body).toMatchObject({ secondFactor: { enabled: false } });
    expect((await api.post('/account/totp/confirm', { code: appOf(secret).code() })).status).toBe(200);
    expect((await api.post('/account/totp/confirm', { code: '000000' })).status).toBe(401);
  });

  test('ends other sessions, docker logins and access tokens; the session that asked goes on anew', async () => {
    const ada = await newUser();
    const [here, there] = [await signIn(berth.url, ada), await signIn(berth.url, ada)];
    const login = await supertest(berth.url)
      .get('/auth/token')
      .query({ service: 'berth', offline_token: 'true' })
      .auth(ada.username, ada.password);
    const { refresh_token: refreshToken, token } = login.body as Record<string, string>;
    const { confirmed } = await enableSecondFactor(here.api, ada.password);

    const session = cookieOf(confirmed)!;
    expect(session).not.toBe(here.session);
    expect(confirmed.text).not.toContain(session);
    expect((await here.api.get('/account')).status).toBe(401);
    expect((await there.api.get('/account')).status).toBe(401);
    const renewed = await apiOf(berth.url, { session });
    expect((await renewed.get('/account')).body).toMatchObject({ secondFactor: { enabled: true, recoveryCodes: 10 } });
    const refreshed = await supertest(berth.url)
      .post('/auth/token')
      .type('form')
      .send({ grant_type: 'refresh_token', service: 'berth', refresh_token: refreshToken });
    expect(refreshed.status).toBe(401);
    expect((await supertest(berth.url).get('/v2/').auth(token!, { type: 'bearer' })).status).toBe(401);
  });

  test('gives a program that asks its next secret in the answer', async () => {
    const ada = await newUser();
    const opened = await (await apiOf(berth.url)).post('/session', { ...ada, cookie: false });
    const program = await apiOf(berth.url, { token: (opened.body as { secret: string }).secret });
    const { confirmed } = await enableSecondFactor(program, ada.password);
    expect(cookieOf(confirmed)).toBeUndefined();
    const { session } = confirmed.body as { session: { secret: string } };
    expect((await (await apiOf(berth.url, { token: session.secret })).get('/account')).status).toBe(200);
  });

  test('cannot be begun anew while there is one', async () => {
    const ada = await newUser();
    const { confirmed } = await enableSecondFactor((await signIn(berth.url, ada)).api, ada.password);
    const api = await apiOf(berth.url, { session: cookieOf(confirmed)! });
    expect((await api.post('/account/totp', { password: ada.password })).status).toBe(409);
  });
});

describe('with a second factor', () => {
  test('the password alone opens nothing; a token does', async () => {
    const ada = await newUser();
    const { api } = await signIn(berth.url, ada);
    const grants = [{ repositories: '*', actions: ['pull'] }];
    const made = await api.post('/tokens', { name: 'ci', grants, apiScopes: ['account:read'] });
    const { secret } = made.body as { secret: string };
    const { app } = await enableSecondFactor(api, ada.password);

    expect(await dockerLogin(berth.url, ada)).toBe(false);
    expect((await (await apiOf(berth.url, ada)).get('/account')).status).toBe(401);
    expect(await dockerLogin(berth.url, { ...ada, password: secret })).toBe(true);
    const missing = await trySignIn(berth.url, ada);
    expect([missing.status, typeOf(missing)]).toEqual([401, 'urn:berth:problem:second-factor-required']);
    expect(cookieOf(missing)).toBeUndefined();
    expect((await trySignIn(berth.url, { ...ada, code: app.code() })).status).toBe(201);
  });

  test('only whoever knows the password hears of it', async () => {
    const ada = await newUser();
    const { app } = await enableSecondFactor((await signIn(berth.url, ada)).api, ada.password);
    const same = (answer: { status: number; body: unknown }) =>
      JSON.stringify([answer.status, { ...(answer.body as object), requestId: '' }]);
    const answers = [
      await trySignIn(berth.url, { username: 'nobody', password: 'wrong password' }),
      await trySignIn(berth.url, { ...ada, password: 'wrong password' }),
      await trySignIn(berth.url, { ...ada, password: 'wrong password', code: app.code() }),
      await trySignIn(berth.url, { ...ada, code: '000000' }),
      await trySignIn(berth.url, { ...ada, code: 'no code at all' }),
    ];
    expect(new Set(answers.map(same)).size).toBe(1);
  });

  test('a code works once, also for several who send it at once', async () => {
    const ada = await newUser();
    const { app } = await enableSecondFactor((await signIn(berth.url, ada)).api, ada.password);
    const login = { ...ada, code: app.code() };
    const answers = await Promise.all(Array.from({ length: 6 }, () => trySignIn(berth.url, login)));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 401, 401, 401, 401, 401]);
    expect((await trySignIn(berth.url, login)).status).toBe(401);
  });

  test('a recovery code works once, however it is typed, also for several who send it at once', async () => {
    const ada = await newUser();
    const { recoveryCodes } = await enableSecondFactor((await signIn(berth.url, ada)).api, ada.password);
    expect(recoveryCodes).toHaveLength(10);
    const [first, second] = recoveryCodes;
    const typed = first!.toUpperCase().replaceAll('-', ' ');
    const answers = await Promise.all(Array.from({ length: 6 }, () => trySignIn(berth.url, { ...ada, code: typed })));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 401, 401, 401, 401, 401]);
    const { api } = await signIn(berth.url, { ...ada, code: second! });
    expect((await api.get('/account')).body).toMatchObject({ secondFactor: { recoveryCodes: 8 } });
    const { records } = await searchAudit(
      berth.database,
      { all: true },
      { actions: ['user.recovery_code.use'] },
      { limit: 10 },
    );
    expect(records.filter(({ target }) => target === ada.username)).toHaveLength(2);
  });

  test('codes that are guessed are slowed down, and apart from passwords', async () => {
    const strict = await startTestBerth({ BERTH_SIGN_IN_FAILURES_FREE: '3' });
    try {
      const ada = await strict.addUser('ada');
      const { recoveryCodes } = await enableSecondFactor((await signIn(strict.url, ada)).api, ada.password);
      const statuses = [];
      for (let i = 0; i < 5; i += 1) statuses.push((await trySignIn(strict.url, { ...ada, code: `00000${i}` })).status);
      expect(statuses).toEqual([401, 401, 401, 401, 429]);
      expect((await trySignIn(strict.url, { ...ada, code: recoveryCodes[0]! })).status).toBe(429);
      expect((await trySignIn(strict.url, ada)).status).toBe(401);
    } finally {
      await strict.stop();
    }
  });
});

describe('a second factor goes', () => {
  test('with password and code, both', async () => {
    const ada = await newUser();
    const { confirmed, recoveryCodes } = await enableSecondFactor((await signIn(berth.url, ada)).api, ada.password);
    const api = await apiOf(berth.url, { session: cookieOf(confirmed)! });
    const [first, second, third] = recoveryCodes as [string, string, string];
    expect((await api.delete('/account/totp', { password: ada.password, code: '000000' })).status).toBe(403);
    expect((await api.delete('/account/totp', { password: 'wrong password', code: first })).status).toBe(403);
    const renewed = await api.post('/account/totp/recovery-codes', { password: ada.password, code: first });
    expect(renewed.status).toBe(201);
    expect((await api.delete('/account/totp', { password: ada.password, code: second })).status).toBe(403);
    const [fresh] = (renewed.body as { recoveryCodes: string[] }).recoveryCodes;
    expect((await api.delete('/account/totp', { password: ada.password, code: fresh })).status).toBe(204);
    expect(await dockerLogin(berth.url, ada)).toBe(true);
    expect((await trySignIn(berth.url, ada)).status).toBe(201);
    expect((await api.delete('/account/totp', { password: ada.password, code: third })).status).toBe(409);
  });

  test('by an administrator, for whoever lost everything', async () => {
    const ada = await newUser();
    await enableSecondFactor((await signIn(berth.url, ada)).api, ada.password);
    const admin = await apiOf(berth.url, berth.admin);
    expect((await admin.get(`/users/${ada.username}`)).body).toMatchObject({ secondFactor: true });
    expect((await admin.delete(`/users/${ada.username}/totp`)).status).toBe(204);
    expect((await trySignIn(berth.url, ada)).status).toBe(201);
    expect((await admin.delete(`/users/${ada.username}/totp`)).status).toBe(409);
  });

  test('never by a token, whatever it was made for', async () => {
    const ada = await newUser();
    const made = await (
      await apiOf(berth.url, ada)
    ).post('/tokens', { name: 'ci', grants: [], apiScopes: ['account:read', 'account:write'] });
    const token = await apiOf(berth.url, { token: (made.body as { secret: string }).secret });
    const proof = { password: ada.password, code: '000000' };
    expect((await token.post('/account/totp', { password: ada.password })).status).toBe(403);
    expect((await token.post('/account/totp/confirm', { code: '000000' })).status).toBe(403);
    expect((await token.post('/account/totp/recovery-codes', proof)).status).toBe(403);
    expect((await token.delete('/account/totp', proof)).status).toBe(403);
  });
});
