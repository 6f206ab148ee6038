/** Browser sessions at /api/v1: the cookie, and what stands between it and other sites' pages. */
import supertest, { type Test } from 'supertest';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { csrfTokenOf } from '../../src/http/api/csrf.ts';
import { apiOf } from '../support/api.ts';
import { startApiServer, type ApiServer } from '../support/api-server.ts';

const session = 'session_of_alice';
let server: ApiServer;
let secure: ApiServer;
beforeAll(async () => {
  [server, secure] = await Promise.all([
    startApiServer(),
    startApiServer({ publicUrl: 'https://registry.example.com' }),
  ]);
});
afterAll(() => Promise.all([server.stop(), secure.stop()]));
beforeEach(() => server.database.query('DELETE FROM things'));

/** A change, as a page sends it, with what the test wants to be different. */
function change(headers: Readonly<Record<string, string>>): Test {
  return supertest(server.url)
    .post('/api/v1/things')
    .ok(() => true)
    .set({ Cookie: `berth_session=${session}`, 'Content-Type': 'application/json', ...headers })
    .send('{"name":"one"}');
}
const things = async () => (await server.database.query('SELECT 1 FROM things')).length;
const csrf = { 'X-CSRF-Token': csrfTokenOf(session) };

describe('a change within a session', () => {
  test('with its token, from our own page, is done', async () => {
    const answer = await change({ ...csrf, Origin: server.url, 'Sec-Fetch-Site': 'same-origin' });
    expect(answer.status).toBe(201);
  });

  test.each([
    ['without a token', {}],
    ['with an empty one', { 'X-CSRF-Token': '' }],
    ['with the secret itself', { 'X-CSRF-Token': session }],
    ["with another session's", { 'X-CSRF-Token': csrfTokenOf('session_of_eve') }],
    ['with two', { 'X-CSRF-Token': `${csrf['X-CSRF-Token']}, ${csrf['X-CSRF-Token']}` }],
    ['from another origin', { ...csrf, Origin: 'https://evil.example' }],
    ['from an origin that begins alike', { ...csrf, Origin: 'http://127.0.0.1' }],
    ['from a page without an origin', { ...csrf, Origin: 'null' }],
    ['from another site', { ...csrf, 'Sec-Fetch-Site': 'cross-site' }],
    ['from another host of the same site', { ...csrf, 'Sec-Fetch-Site': 'same-site' }],
  ])('%s: 403, and nothing done', async (_what, headers) => {
    const answer = await change(headers);
    expect(answer.status).toBe(403);
    expect(answer.body).toMatchObject({ type: 'urn:berth:problem:forbidden' });
    expect(await things()).toBe(0);
  });

  test('that has ended: 401', async () => {
    expect((await change({ Cookie: 'berth_session=session_of_eve', ...csrf })).status).toBe(401);
  });

  test('reading needs no token', async () => {
    const answer = await supertest(server.url)
      .get('/api/v1/things')
      .set('Cookie', `a=b; berth_session=${session}; c=d`);
    expect(answer.status).toBe(200);
  });

  test('the session cookie twice is refused: one was planted', async () => {
    const answer = await change({ ...csrf, Cookie: `berth_session=x; berth_session=${session}` });
    expect(answer.status).toBe(400);
    expect(answer.text).not.toContain(session);
  });

  test('whoever shows a token needs none, and is who the token says', async () => {
    const answer = await change({ Authorization: 'Bearer bob', Origin: 'https://tool.example' });
    expect(answer.status).toBe(201);
    const cookieIgnored = await change({ Authorization: 'Bearer eve', ...csrf });
    expect(cookieIgnored.status).toBe(401);
  });
});

describe('signing in and out', () => {
  const signIn = (headers: Readonly<Record<string, string>> = {}) =>
    supertest(server.url)
      .post('/api/v1/session')
      .ok(() => true)
      .set(headers);

  test('by plain http: a cookie that scripts cannot read', async () => {
    const answer = await signIn();
    expect(answer.status).toBe(201);
    expect(answer.headers['set-cookie']).toEqual([
      `berth_session=${session}; Max-Age=60; Path=/; HttpOnly; SameSite=Lax`,
    ]);
    expect(answer.headers['cache-control']).toBe('no-store');
  });

  test('by https: a cookie bound to https and this host', async () => {
    const answer = await supertest(secure.url).post('/api/v1/session');
    expect(answer.headers['set-cookie']).toEqual([
      `__Host-berth_session=${session}; Max-Age=60; Path=/; HttpOnly; SameSite=Lax; Secure`,
    ]);
    const read = (cookie: string) => supertest(secure.url).get('/api/v1/things').set('Cookie', cookie);
    expect((await read(`__Host-berth_session=${session}`)).status).toBe(200);
    expect((await read(`berth_session=${session}`)).status).toBe(401);
  });

  test("another site's page cannot sign its visitor in as somebody else", async () => {
    expect((await signIn({ Origin: 'https://evil.example' })).status).toBe(403);
    expect((await signIn({ 'Sec-Fetch-Site': 'cross-site' })).status).toBe(403);
  });

  test('anew, when the old session has ended, needs no token of it', async () => {
    const answer = await signIn({ Cookie: 'berth_session=session_of_eve' });
    expect(answer.status).toBe(201);
    expect(answer.body).toMatchObject({ was: null });
  });

  test('out takes the cookie away', async () => {
    const answer = await (await apiOf(server.url, { session })).delete('/session');
    expect(answer.status).toBe(204);
    expect(answer.headers['set-cookie']).toEqual(['berth_session=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax']);
  });
});
